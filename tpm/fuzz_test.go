package tpm

import (
	"bytes"
	"slices"
	"testing"

	"github.com/google/go-tpm/tpm2"
)

// hmacPublic is the public area of the key in an authenticationKey.
var hmacPublic = slices.Concat([]byte{0, 8, 0, 0x0B, 0, 4, 0, 0x40, 0, 0, 0, 5, 0, 0x0B}, sized(make([]byte, 32)))

func FuzzAuthenticationKey(f *testing.F) {
	f.Add([]byte{})
	f.Add(slices.Concat(sized([]byte{1}), sized([]byte{2}), sized([]byte{3}), sized([]byte{4}), sized(hmacPublic), sized(nil)))
	f.Add(slices.Concat(sized(nil), sized(nil), sized(nil), sized(nil), sized([]byte{0, 0x10, 0, 0x0B, 0, 4, 0, 0x40})))
	f.Fuzz(func(t *testing.T, b []byte) {
		sent, err := parseIssued(b)
		if err != nil {
			return
		}
		whole := slices.Concat(sized(sent.credential), sized(sent.secret), sized(sent.duplicate), sized(sent.seed), sized(sent.public))
		if !bytes.HasPrefix(b, whole) {
			t.Errorf("% x was read as % x", b, whole)
		}
		if m, err := newMAC(sent.public, nil); err != nil || !isHMAC(m.public) || m.public.ObjectAttributes.FixedTPM {
			t.Errorf("% x is no key to import: %v", sent.public, err)
		}
	})
}

func FuzzKeyFile(f *testing.F) {
	mac := blob{parent: tpm2.TPMRHOwner, rsaParent: true, private: []byte{1, 2}}
	area, err := parsePublic(hmacPublic)
	if err != nil {
		f.Fatal(err)
	}
	mac.public = area
	f.Add(mac.pem())
	mac.public = template(plan{})
	f.Add(mac.pem())
	f.Add([]byte("-----BEGIN TSS2 PRIVATE KEY-----\nMAA=\n-----END TSS2 PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := parseBlob(b); err == nil && k.key == nil {
			t.Error("a signing key without a public key")
		}
		m, err := parseMAC(b)
		if err != nil {
			return
		}
		if again, err := parseMAC(m.pem()); err != nil || !bytes.Equal(again.name.Buffer, m.name.Buffer) ||
			!bytes.Equal(again.private, m.private) || again.rsaParent != m.rsaParent {
			t.Errorf("%+v was written as %+v: %v", m, again, err)
		}
	})
}

// FuzzAnswer is what a TPM, or who sits on the bus to it, may answer with.
func FuzzAnswer(f *testing.F) {
	f.Add(uint32(tpm2.TPMCCSign), []byte{0x80, 2, 0, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0x14, 0, 0x0B, 0, 0, 0, 0, 1, 0, 0})
	f.Add(uint32(tpm2.TPMCCLoad), []byte{0x80, 1, 0, 0, 0, 10, 0, 0, 0, 0})
	f.Add(uint32(tpm2.TPMCCGetCapability), []byte{0x80, 1, 0, 0, 0, 19, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0xFF})
	f.Fuzz(func(t *testing.T, code uint32, raw []byte) {
		if len(raw) < header || len(raw) > largest {
			return // readAnswer lets neither through
		}
		opened := []object{password(0x80000000, tpm2.TPM2BName{})}
		for _, c := range []command{{code: tpm2.TPMCC(code)}, {code: tpm2.TPMCC(code), on: opened}} {
			a, err := c.send(func([]byte) ([]byte, error) { return raw, nil })
			if err != nil {
				continue
			}
			if len(a.rest) > len(raw)-header {
				t.Errorf("%d bytes of parameters in an answer of %d", len(a.rest), len(raw))
			}
			_, _ = encode(&answer{rest: a.rest})
			_, _ = a.public()
		}
		w := wire(func([]byte) ([]byte, error) { return raw, nil })
		if list, _, err := handles(w, 0, 64); err == nil && 4*len(list) > len(raw) {
			t.Errorf("%d handles in %d bytes", len(list), len(raw))
		}
	})
}
