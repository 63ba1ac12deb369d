package keystest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"io"
	"testing"
	"testing/synctest"

	"github.com/devid-agent/devid-agent/keys"
)

func TestSoftwareStoreKeepsTheContract(t *testing.T) {
	for _, a := range keys.Algorithms {
		t.Run(string(a), func(t *testing.T) {
			t.Parallel()
			Suite(t, a, func(*testing.T) Place {
				s := NewStore(a)
				return func(*testing.T) keys.Store { return s }
			}, nil)
		})
	}
}

func TestSoftwareStoreLivesInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cert := NewAuthority(t).Certify(t, "device-1", create(t, NewStore(keys.ECDSAP256), "device-g1"))
		check(t, cert.PrivateKey.(crypto.Signer))
	})
}

func TestCutBeforeCreateLeavesNoKeyAndAfterLeavesOne(t *testing.T) {
	for verb, want := range map[string][]string{"create": nil, "created": {"device-g1"}} {
		s := NewStore(keys.ECDSAP256)
		s.Cut = func(v, _ string) error {
			if v == verb {
				return io.ErrUnexpectedEOF
			}
			return nil
		}
		if _, err := s.Create(t.Context(), "device-g1"); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut at %s: %v", verb, err)
		}
		wantNames(t, s, want...)
	}
}

func TestVerifyCatchesASignerWithTheLargestSalt(t *testing.T) {
	key, err := Generate(keys.RSA2048)
	if err != nil {
		t.Fatal(err)
	}
	if err := Verify(key); err != nil {
		t.Fatalf("an honest key: %v", err)
	}
	if Verify(largestSalt{key}) == nil {
		t.Error("PSS with a salt of 222 bytes passed")
	}
}

// largestSalt signs PSS as TPMs before revision 1.38 of the specification do.
type largestSalt struct{ crypto.Signer }

func (l largestSalt) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if pss, ok := opts.(*rsa.PSSOptions); ok {
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto, Hash: pss.Hash}
	}
	return l.Signer.Sign(rand.Reader, digest, opts)
}
