package ezca

import (
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
	"github.com/devid-agent/devid-agent/provisioning"
)

func TestECKeysAreRefusedWithTheTwoWaysOut(t *testing.T) {
	s := newService(t)
	w := s.world()
	w.inForce(w.issue())
	w.key = newECKey(t)
	_, err := w.issue()
	wantWaysOut(t, err)

	w = s.world()
	store := keystest.NewStore(keys.ECDSAP256)
	w = &world{T: t, config: w.config, log: w.log, ids: newWorld(t, store).ids}
	w.next()
	w.inForce(w.issue()) // the first certificate may be for any key: something else may renew it
	if usages := quoted(s.bodies[len(s.bodies)-1]["KeyUsages"]); usages != `["Digital Signature"]` {
		t.Errorf("usages of an EC key: %s", usages)
	}
	asked := len(s.paths)
	_, err = w.issue()
	wantWaysOut(t, err)
	if len(s.paths) != asked {
		t.Error("the service was asked all the same")
	}
}

func wantWaysOut(t *testing.T, err error) {
	t.Helper()
	hint := fault.Hint(err)
	if fault.Of(err) != fault.Operator || !strings.Contains(hint, "keys.algorithm rsa-2048 or rsa-4096") || !strings.Contains(hint, "renewal.issuer est") {
		t.Errorf("%v: %v | %s", fault.Of(err), err, hint)
	}
}

func TestConfigurationThatCannotWorkIsRefusedBeforeAnybodyIsAsked(t *testing.T) {
	good := Config{URL: "https://portal.ezca.io", CA: caID, Template: templateID, TokenFile: "token"}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(c *Config){
		"plain HTTP":       func(c *Config) { c.URL = "http://portal.ezca.io" },
		"no URL":           func(c *Config) { c.URL = "" },
		"no host":          func(c *Config) { c.URL = "https:///" },
		"a path":           func(c *Config) { c.URL = "https://portal.ezca.io/api" },
		"a query":          func(c *Config) { c.URL = "https://portal.ezca.io?x=y" },
		"a password":       func(c *Config) { c.URL = "https://user:pw@portal.ezca.io" },
		"no URL at all":    func(c *Config) { c.URL = "https://a b" },
		"renewal v4":       func(c *Config) { c.API = "v4" },
		"CA by name":       func(c *Config) { c.CA = "Factory CA" },
		"no CA":            func(c *Config) { c.CA = "" },
		"no template":      func(c *Config) { c.Template = "" },
		"short template":   func(c *Config) { c.Template = templateID[1:] },
		"odd template":     func(c *Config) { c.Template = "g" + templateID[1:] },
		"token of an hour": func(c *Config) { c.TokenLife = time.Hour },
		"token of seconds": func(c *Config) { c.TokenLife = time.Second },
		"negative days":    func(c *Config) { c.Validity = -1 },
	} {
		c := good
		change(&c)
		err := c.Check()
		if fault.Of(err) != fault.Operator || !strings.Contains(fault.Hint(err), "provisioning.ezca.") || strings.Contains(err.Error(), "pw") {
			t.Errorf("%s: %v: %v | %s", name, fault.Of(err), err, fault.Hint(err))
		}
		if _, err := New(c).First().Issue(t.Context(), provisioning.Request{DeviceID: device}); fault.Of(err) != fault.Operator {
			t.Errorf("%s: %v", name, err)
		}
	}
}
