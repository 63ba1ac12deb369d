package station

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/sas"
)

// tokenLife is how long a token of a shared access policy is good: each request has its own.
const tokenLife = 5 * time.Minute

// Connection is a connection string of a shared access policy, of an IoT hub or of DPS. It is a secret.
type Connection struct {
	Host   string // as the connection string has it: a name, perhaps with a port
	Policy string // SharedAccessKeyName
	key    []byte
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?$`)

// ReadConnection reads the connection string in a file.
func ReadConnection(file string) (Connection, error) {
	const remedy = "copy the connection string of a shared access policy into the file: HostName=…;SharedAccessKeyName=…;SharedAccessKey=…"
	b, err := os.ReadFile(file)
	if err != nil {
		return Connection{}, fault.AskOperator(err, remedy)
	}
	c, err := ParseConnection(string(b))
	if err != nil {
		return Connection{}, fault.AskOperator(fmt.Errorf("%s: %w", file, err), remedy)
	}
	return c, nil
}

// ParseConnection reads a connection string. No error has the key in it.
func ParseConnection(text string) (Connection, error) {
	var c Connection
	for _, part := range strings.Split(strings.TrimSpace(text), ";") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if part == "" {
			continue
		}
		if !ok {
			return Connection{}, errors.New("connection string: a part has no =")
		}
		switch strings.ToLower(name) {
		case "hostname":
			c.Host = value
		case "sharedaccesskeyname":
			c.Policy = value
		case "sharedaccesskey":
			key, err := base64.StdEncoding.DecodeString(value)
			if err != nil {
				return Connection{}, errors.New("connection string: SharedAccessKey is not base64")
			}
			c.key = key
		case "deviceid":
			return Connection{}, errors.New("connection string: it is one of a device, not of a shared access policy")
		}
	}
	return c, c.check()
}

func (c Connection) check() error {
	switch {
	case !hostName.MatchString(c.Host):
		return errors.New("connection string: HostName is missing, or no name")
	case c.Policy == "":
		return errors.New("connection string: SharedAccessKeyName is missing")
	case len(c.key) == 0:
		return errors.New("connection string: SharedAccessKey is missing")
	}
	return nil
}

// token is a fresh token for one request. The resource is the name without the port.
func (c Connection) token(ctx context.Context) (string, error) {
	host, _, _ := strings.Cut(c.Host, ":")
	return sas.Token(ctx, host, c.Policy, time.Now().Add(tokenLife), sas.SharedKey(c.key))
}

// service is the service of the connection string.
func (c Connection) service(name, rights string, client Client) *service {
	s := newService(name, "https://"+c.Host, client)
	s.authorize, s.rights = c.token, rights
	return s
}
