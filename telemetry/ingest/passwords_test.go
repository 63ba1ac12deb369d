package ingest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/devid-agent/devid-agent/fault"
)

func TestPasswordsAreReadLineByLine(t *testing.T) {
	users, err := Passwords("# who may publish\nplc:se:cret \r\n\nguest:guest")
	if err != nil || fmt.Sprint(users) != "map[guest:guest plc:se:cret ]" {
		t.Errorf("%v, %v", users, err)
	}
}

func TestPasswordsThatAreWrongAreNotQuoted(t *testing.T) {
	for _, file := range []string{"", "#\n", "plc", ":secret", "plc:", "plc:secret\nplc:secret"} {
		users, err := Passwords(file)
		if fault.Of(err) != fault.Operator || strings.Contains(fmt.Sprint(err), "secret") {
			t.Errorf("%q: %v, %v", file, users, err)
		}
	}
}
