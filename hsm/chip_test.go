package hsm_test

import (
	"crypto/tls"
	"testing"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/hsm"
	"github.com/devid-agent/devid-agent/hsm/hsmtest"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
)

func TestKeysLiveInATPMBehindTPM2PKCS11(t *testing.T) {
	t.Parallel()
	chip := hsmtest.StartChip(t)
	keystest.Suite(t, keys.ECDSAP256, func(t *testing.T) keystest.Place {
		return func(t *testing.T) keys.Store {
			c := chip.Config()
			c.Prefix = t.Name()
			return chip.Open(t, c)
		}
	}, offline)
	// The suite makes 20 keys, which takes a TPM too long with RSA.
	c := chip.Config()
	c.Algorithm = keys.RSA2048
	s := chip.Open(t, c)
	key := create(t, s, "device-g1")
	verify(t, key)
	authority := keystest.NewAuthority(t)
	if err := authority.Handshake(t, authority.Certify(t, "device-1", key), tls.VersionTLS13); err != nil {
		t.Errorf("TLS 1.3: %v", err)
	}
	facts, err := s.Inspect(t.Context(), "device-g1")
	if err != nil || !facts.Refused || facts.Padding != hsm.PaddedByToken {
		t.Errorf("facts %+v, %v", facts, err)
	}
	t.Log(facts)
}

func TestATPMThatIsRestartedBehindTPM2PKCS11IsFoundAgain(t *testing.T) {
	t.Parallel()
	chip := hsmtest.StartChip(t)
	s := chip.Open(t, chip.Config())
	key := create(t, s, "device-g1")
	for range 2 {
		chip.Kill()
		if err := sign(key); err == nil || fault.Of(err) != fault.Transient || fault.Hint(err) == "" {
			t.Errorf("without a TPM: %v (%v, hint %q)", err, fault.Of(err), fault.Hint(err))
		}
		chip.Restart()
		verify(t, key)
	}
	chip.Restart() // so fast that nobody has noticed
	verify(t, key)
	if h := s.Health(); h.Contexts == 0 && h.Helpers == 0 {
		t.Errorf("nothing was healed: %+v", h)
	}
}
