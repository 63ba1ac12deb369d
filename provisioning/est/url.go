package est

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/web"
)

const wellKnown = "/.well-known/est"

// operations may not be labels (RFC 7030, 3.2.2).
var operations = []string{"cacerts", SimpleEnroll, SimpleReenroll, "fullcmc", "serverkeygen", "csrattrs"}

// Check says what in the configuration cannot work, or nil. It asks nobody.
func (c Config) Check() error {
	if _, err := c.base(); err != nil {
		return fault.AskOperator(fmt.Errorf("est: %w", err), "set provisioning.est.url and label as the operator of the EST server names them, "+
			"such as https://ca.example.com or https://est.example.com/EST/ca/template/.well-known/est")
	}
	if c.Reenroll != "" && c.Reenroll != SimpleEnroll && c.Reenroll != SimpleReenroll {
		return fault.AskOperator(fmt.Errorf("est: %q does not renew", c.Reenroll), "set provisioning.est.reenroll to "+SimpleReenroll+" or "+SimpleEnroll)
	}
	if strings.Contains(c.Username, ":") {
		return fault.AskOperator(errors.New("est: a user name with a colon"), "HTTP Basic (RFC 7617) has no colon in user names")
	}
	return nil
}

// base is the URL below which the operations are.
func (c Config) base() (*url.URL, error) {
	u, err := web.Address(c.URL)
	if err != nil {
		return nil, err
	}
	if strings.Trim(u.Path, "/") == "" {
		u = u.JoinPath(wellKnown)
	}
	if c.Label == "" {
		return u, nil
	}
	if strings.ContainsAny(c.Label, "/?#%") || c.Label == "." || c.Label == ".." || slices.Contains(operations, c.Label) {
		return nil, fmt.Errorf("%q is not a label", c.Label)
	}
	return u.JoinPath(url.PathEscape(c.Label)), nil
}
