package keystest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // the digests that the signatures of the suite are over
	_ "crypto/sha512"
	"crypto/tls"
	"errors"
	"fmt"
	"testing"

	"github.com/devid-agent/devid-agent/keys"
)

var versions = map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13}

// hashes are those that TLS 1.2 and 1.3 choose from.
var hashes = []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512}

func signaturesVerify(t *testing.T, _ keys.Algorithm, open Place) {
	check(t, create(t, open(t), "device-g1"))
}

func wrongDigest(t *testing.T, _ keys.Algorithm, open Place) {
	key := create(t, open(t), "device-g1")
	for _, n := range []int{0, 1, 31, 33, 4096} {
		if _, err := key.Sign(rand.Reader, make([]byte, n), crypto.SHA256); err == nil {
			t.Errorf("signed %d bytes as if they were a SHA-256", n)
		}
	}
	check(t, key)
}

func create(t *testing.T, s keys.Store, name string) crypto.Signer {
	t.Helper()
	key, err := s.Create(t.Context(), name)
	if err != nil {
		t.Fatalf("create %s: %v", name, err)
	}
	return key
}

func reopen(t *testing.T, s keys.Store, name string) crypto.Signer {
	t.Helper()
	key, err := s.Open(t.Context(), name)
	if err != nil {
		t.Fatalf("open %s: %v", name, err)
	}
	return key
}

func check(t *testing.T, key crypto.Signer) {
	t.Helper()
	if err := Verify(key); err != nil {
		t.Error(err)
	}
}

// Verify says which of the signatures that TLS and X.509 ask for key does not make, or nil.
func Verify(key crypto.Signer) error {
	var errs []error
	for _, h := range hashes {
		for _, opts := range optionsFor(key.Public(), h) {
			if err := verifyOne(key, opts); err != nil {
				errs = append(errs, fmt.Errorf("%T with %v: %w", opts, h, err))
			}
		}
	}
	return errors.Join(errs...)
}

func optionsFor(public crypto.PublicKey, h crypto.Hash) []crypto.SignerOpts {
	if _, ok := public.(*rsa.PublicKey); ok {
		return []crypto.SignerOpts{h, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: h}}
	}
	return []crypto.SignerOpts{h}
}

func verifyOne(key crypto.Signer, opts crypto.SignerOpts) error {
	digest := digestOf(opts.HashFunc())
	signature, err := key.Sign(rand.Reader, digest, opts)
	if err != nil {
		return err
	}
	if err := CheckSignature(key.Public(), digest, signature, opts); err != nil {
		return err
	}
	digest[0] ^= 1
	if CheckSignature(key.Public(), digest, signature, opts) == nil {
		return errors.New("the signature fits another digest too")
	}
	return nil
}

// CheckSignature says why signature is not one of public over digest, as strictly as TLS 1.3 does: the salt of
// a PSS signature is as long as the hash.
func CheckSignature(public crypto.PublicKey, digest, signature []byte, opts crypto.SignerOpts) error {
	switch p := public.(type) {
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(p, digest, signature) {
			return errors.New("ecdsa: verification error")
		}
		return nil
	case *rsa.PublicKey:
		if pss, ok := opts.(*rsa.PSSOptions); ok {
			return rsa.VerifyPSS(p, opts.HashFunc(), digest, signature, &rsa.PSSOptions{SaltLength: pss.HashFunc().Size()})
		}
		return rsa.VerifyPKCS1v15(p, opts.HashFunc(), digest, signature)
	}
	return fmt.Errorf("public key of type %T", public)
}

func digestOf(h crypto.Hash) []byte { return bytes.Repeat([]byte{0xA5}, h.Size()) }

func same(a, b crypto.Signer) bool {
	public, ok := a.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(b.Public())
}

func algorithmOf(public crypto.PublicKey) keys.Algorithm {
	switch p := public.(type) {
	case *ecdsa.PublicKey:
		switch p.Curve {
		case elliptic.P256():
			return keys.ECDSAP256
		case elliptic.P384():
			return keys.ECDSAP384
		}
	case *rsa.PublicKey:
		return keys.Algorithm(fmt.Sprintf("rsa-%d", p.N.BitLen()))
	}
	return keys.Algorithm(fmt.Sprintf("%T", public))
}
