package hsm_test

import (
	"strings"
	"testing"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/hsm"
)

func TestAURIThatNamesNoTokenIsRefusedInWords(t *testing.T) {
	for uri, words := range map[string]string{
		"":                                                     "begins with pkcs11:",
		"token=a?module-path=/m.so":                            "begins with pkcs11:",
		"pkcs11:token=a":                                       "module-path is missing",
		"pkcs11:?module-path=/m.so":                            "names no token",
		"pkcs11:token=a?module-path=m":                         "is not absolute",
		"pkcs11:tokem=a":                                       "unknown attribute \"tokem\"",
		"pkcs11:token=a;token=b":                               "comes twice",
		"pkcs11:token":                                         "has no value",
		"pkcs11:token=%zz":                                     "percent sign",
		"pkcs11:token=a;slot-id=x":                             "not a number",
		"pkcs11:token=a;type=cert":                             "only private keys",
		"pkcs11:token=a;id=%01?module-path=/m.so":              "a token with many is wanted",
		"pkcs11:token=a?pin-value=secret-4711":                 "put it into a file",
		"pkcs11:token=a?pin-source=%7C/bin/askpass":            "no commands",
		"pkcs11:token=a?pin-source=pin":                        "not file:/PATH",
		"pkcs11:token=a?module-name=softhsm2":                  "module-path",
		"pkcs11:token=a?module-path=/m.so&pin-sauce=file:/pin": "unknown attribute \"pin-sauce\"",
	} {
		_, err := hsm.Open(hsm.Config{URI: uri, StateDir: t.TempDir()})
		if err == nil || !strings.Contains(err.Error(), words) || fault.Of(err) != fault.Operator || fault.Hint(err) == "" {
			t.Errorf("%s: %v, want %q", uri, err, words)
			continue
		}
		if strings.Contains(err.Error(), "4711") {
			t.Errorf("the PIN is in %q", err)
		}
	}
}

func TestURIsOfTheStandardAreUnderstood(t *testing.T) {
	for _, uri := range []string{
		"pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil,%20Inc.;model=1.0?module-path=/m.so",
		"pkcs11:slot-id=0;slot-manufacturer=x;library-version=3?module-path=/m.so&pin-source=file:///etc/token_pin",
		"pkcs11:serial=DECC0401648;x-vendor=1?module-path=/m%20m.so&pin-source=/etc/token_pin",
		"pkcs11:token=a;object=prefix-;type=private?module-path=/m.so&pin-source=file:/etc/token_pin",
	} {
		if _, err := hsm.Open(hsm.Config{URI: uri, StateDir: t.TempDir()}); err != nil {
			t.Errorf("%s: %v", uri, err)
		}
	}
}

func FuzzURI(f *testing.F) {
	f.Add("pkcs11:token=a;serial=%31?module-path=/m.so&pin-source=file:/p")
	f.Add("pkcs11:;;=?&=%")
	f.Fuzz(func(t *testing.T, uri string) {
		_, _ = hsm.Open(hsm.Config{URI: uri, StateDir: t.TempDir()})
	})
}
