package identity_test

import (
	"context"
	"crypto"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
)

// busy is a key store whose keys fail to sign.
type busy struct {
	keys.Store
	why error
}

func (b busy) Open(ctx context.Context, name string) (crypto.Signer, error) {
	key, err := b.Store.Open(ctx, name)
	return busyKey{key, b.why}, err
}

type busyKey struct {
	crypto.Signer
	why error
}

func (k busyKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return nil, k.why }

func TestAGrantIsNotToBlameForHardwareThatIsBusy(t *testing.T) {
	for _, kind := range []fault.Kind{fault.Transient, fault.Operator} {
		ks, a := keystest.NewStore(keys.ECDSAP256), newAuthority(t)
		s := open(t, t.TempDir(), busy{ks, fault.As(kind, errors.New("the chip does not sign now"))})
		name, key, err := s.NextKey(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Stage(t.Context(), name, a.grant(t, key.Public(), nil)); fault.Of(err) != kind || !strings.Contains(err.Error(), "does not sign now") {
			t.Errorf("%v is told as %v: %v", kind, fault.Of(err), err)
		}
	}
}

func TestATokenWithAnothersKeysIsNamedWithItsRemedy(t *testing.T) {
	dir, mine, others, a := t.TempDir(), keystest.NewStore(keys.ECDSAP256), keystest.NewStore(keys.ECDSAP256), newAuthority(t)
	advance(t, open(t, dir, mine), a)
	if _, err := others.Create(t.Context(), "device-g1"); err != nil {
		t.Fatal(err)
	}
	_, err := identity.Open(t.Context(), dir, others, nil)
	if fault.Of(err) != fault.Fatal || fault.Hint(err) == "" {
		t.Errorf("%v, %v; do: %s", fault.Of(err), err, fault.Hint(err))
	}
	if names, _ := others.Names(t.Context()); len(names) != 1 {
		t.Error("the other device's key was destroyed")
	}
}
