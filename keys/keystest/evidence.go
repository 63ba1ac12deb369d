package keystest

import (
	"bytes"
	"crypto/x509"
	"errors"
	"testing"

	"github.com/devid-agent/devid-agent/keys"
)

func attested(t *testing.T, open Place, verify Verifier) {
	s := open(t)
	attester, ok := s.(keys.Attester)
	if ok != (verify != nil) {
		t.Fatalf("the store gives evidence: %v, somebody verifies it: %v", ok, verify != nil)
	}
	if !ok {
		return // attesting is an ability, not a duty
	}
	first, second := create(t, s, "device-g1"), create(t, s, "device-g2")
	for name, key := range map[string]any{"device-g1": first.Public(), "device-g2": second.Public()} {
		spki, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		fresh(t, attester, verify, name, spki)
	}
	_, err := attester.Attest(t.Context(), "device-g3", make([]byte, 16))
	if !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("evidence about an absent key: %v, want ErrNotFound", err)
	}
	for _, nonce := range [][]byte{nil, make([]byte, 15), make([]byte, 65)} {
		if _, err := attester.Attest(t.Context(), "device-g1", nonce); err == nil {
			t.Errorf("evidence for a nonce of %d bytes", len(nonce))
		}
	}
}

// fresh wants evidence about this key, for each nonce that is allowed and for no other.
func fresh(t *testing.T, attester keys.Attester, verify Verifier, name string, spki []byte) {
	t.Helper()
	for _, nonce := range [][]byte{bytes.Repeat([]byte{1}, 16), bytes.Repeat([]byte{2}, 64)} {
		e, err := attester.Attest(t.Context(), name, nonce)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(e.PublicKey, spki) {
			t.Errorf("the evidence is about another key than %s", name)
		}
		if err := verify(e, nonce); err != nil {
			t.Errorf("evidence about %s: %v", name, err)
		}
		other := bytes.Clone(nonce)
		other[len(other)-1] ^= 1
		if verify(e, other) == nil {
			t.Error("the evidence serves another nonce")
		}
		if e.Nonce = other; verify(e, other) == nil { // what is signed is the nonce, not a label beside it
			t.Error("the evidence serves another nonce that somebody wrote into it")
		}
	}
}
