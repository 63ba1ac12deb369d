package ingest

import (
	"errors"
	"fmt"
	"strings"

	"github.com/devid-agent/devid-agent/fault"
)

// Passwords reads lines of user:password, as MQTT.Users wants them. Empty lines and those that begin with # are none.
func Passwords(file string) (map[string]string, error) {
	users := make(map[string]string)
	var wrong []error
	n := 0
	for line := range strings.Lines(file) {
		n++
		line = strings.TrimRight(line, "\r\n")
		if line == "" || line[0] == '#' {
			continue
		}
		name, password, found := strings.Cut(line, ":")
		if _, twice := users[name]; !found || name == "" || password == "" || twice {
			wrong = append(wrong, fmt.Errorf("line %d is not user:password, or its user is there twice", n)) // says nothing of what is in it
			continue
		}
		users[name] = password
	}
	if len(users) == 0 && len(wrong) == 0 {
		wrong = append(wrong, errors.New("there is no line user:password"))
	}
	return users, fault.AskOperator(errors.Join(wrong...), "correct the file that telemetry.ingest.mqtt.passwords names")
}
