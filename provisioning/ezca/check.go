package ezca

import (
	"crypto"
	"crypto/rsa"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/web"
)

const (
	minTokenLife = 2 * time.Minute // it begins a minute ago, and a slow chip signs for seconds
	maxTokenLife = 30 * time.Minute
)

// Check says what in the configuration cannot work, or nil. It asks nobody.
func (c Config) Check() error {
	if _, err := c.base(); err != nil {
		return fault.AskOperator(fmt.Errorf("ezca: %w", err),
			"set provisioning.ezca.url to scheme and host of the service, such as https://portal.ezca.io or https://eu.ezca.io")
	}
	if c.API != "" && c.API != V3 && c.API != V2 && c.API != V1 {
		return fault.AskOperator(fmt.Errorf("ezca: there is no renewal %q", c.API), "set provisioning.ezca.api to v3, v2 or v1")
	}
	for setting, id := range map[string]string{"ca": c.CA, "template": c.Template} {
		if id != "" && !isGUID(id) || id == "" && c.TokenFile != "" {
			return fault.AskOperator(fmt.Errorf("ezca: %s is %q, and not a GUID", setting, id),
				"set provisioning.ezca.ca and template as EZCA names them: devid-station lists them, and so does the portal under Certificate Authorities")
		}
	}
	if c.TokenLife != 0 && (c.TokenLife < minTokenLife || c.TokenLife > maxTokenLife) {
		return fault.AskOperator(fmt.Errorf("ezca: a token that lives %v", c.TokenLife), "set provisioning.ezca.jwt_life to 2m … 30m")
	}
	if c.Validity < 0 {
		return fault.AskOperator(fmt.Errorf("ezca: a certificate for %d days", c.Validity), "set provisioning.ezca.validity to a number of whole days")
	}
	return nil
}

// base is the URL of the service.
func (c Config) base() (*url.URL, error) {
	u, err := web.Address(c.URL)
	if err != nil {
		return nil, err
	}
	if strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("url %q has more than scheme and host", c.URL)
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

// isGUID reports whether id is written as 8-4-4-4-12 hexadecimal digits.
func isGUID(id string) bool {
	parts := strings.Split(id, "-")
	if len(parts) != 5 {
		return false
	}
	for i, digits := range [5]int{8, 4, 4, 4, 12} {
		if len(parts[i]) != digits || strings.Trim(parts[i], "0123456789abcdefABCDEF") != "" {
			return false
		}
	}
	return true
}

// checkKeys is about the key that signs the renewal, and the one that has to sign the next.
func checkKeys(current, next crypto.PublicKey) error {
	if _, ok := current.(*rsa.PublicKey); !ok {
		return noRSA("the key of the certificate in force")
	}
	if _, ok := next.(*rsa.PublicKey); !ok {
		return noRSA("the new key")
	}
	return nil
}

// noRSA is for what cannot sign RS256: both of Keytos' clients refuse anything else (ezca-go, certificates.go; EZCAClient,
// CreateRSAJWTToken), and that the service would take ES256 is documented nowhere.
func noRSA(what string) error {
	return fault.AskOperator(fmt.Errorf("ezca: renewal over EZCA's REST interface takes RSA keys alone, not %s", what),
		"there are two ways out: keys.algorithm rsa-2048 or rsa-4096; or EZCA's EST address, "+
			"with renewal.issuer est and provisioning.est.url https://est.ezca.io/EST/CA/TEMPLATE/REGION/.well-known/est")
}
