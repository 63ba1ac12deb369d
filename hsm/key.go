package hsm

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	_ "crypto/sha256" // the digests that signatures are over
	_ "crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/hsm/wire"
	"github.com/devid-agent/devid-agent/keys"
)

// key is a crypto.Signer whose private half is on the token.
type key struct {
	store     *Store
	name      string   // "" for a key that somebody else made
	ref       wire.Key // label and ID
	der       []byte   // SubjectPublicKeyInfo
	public    crypto.PublicKey
	algorithm keys.Algorithm
	pss       bool // RSA: makes PSS signatures that TLS 1.3 accepts
	gone      atomic.Bool

	credit credit // guarded by the store's turn
}

func (s *Store) newKey(name string, found wire.Key) (*key, error) {
	public, err := x509.ParsePKIXPublicKey(found.Public)
	if err != nil {
		return nil, fmt.Errorf("public key on the token: %w", err)
	}
	algorithm, err := algorithmOf(public)
	if err != nil {
		return nil, fault.As(fault.Operator, err)
	}
	if slices.Contains(found.Attributes, "CKA_ALWAYS_AUTHENTICATE") {
		return nil, fault.AskOperator(errors.New("the key wants the PIN for each signature (CKA_ALWAYS_AUTHENTICATE)"),
			"use a key without it: on a PIV token, any slot but 9c")
	}
	return &key{store: s, name: name, ref: wire.Key{Label: found.Label, ID: found.ID}, der: found.Public, public: public, algorithm: algorithm}, nil
}

func algorithmOf(public crypto.PublicKey) (keys.Algorithm, error) {
	switch p := public.(type) {
	case *ecdsa.PublicKey:
		switch p.Curve {
		case elliptic.P256():
			return keys.ECDSAP256, nil
		case elliptic.P384():
			return keys.ECDSAP384, nil
		}
	case *rsa.PublicKey:
		if bits := p.N.BitLen(); bits >= 2048 && bits <= 4096 {
			return keys.Algorithm(fmt.Sprintf("rsa-%d", bits)), nil
		}
	}
	return "", errors.New("the key is neither ECDSA with P-256 or P-384 nor RSA with 2048 to 4096 bits")
}

// is reports whether the token shows this very key.
func (k *key) is(found wire.Key) bool {
	return bytes.Equal(k.ref.ID, found.ID) && bytes.Equal(k.der, found.Public)
}

// Public implements crypto.Signer without asking the token.
func (k *key) Public() crypto.PublicKey { return k.public }

// Who pads an RSA-PSS signature, as keys.Facts says it.
const (
	PaddedByToken = "rsa-pss by the token"
	// PaddedNot is for tokens that have no PSS, or pad otherwise than TLS wants it.
	PaddedNot = "pkcs1-v1.5 only: tls 1.2"
)

func (k *key) padding() string {
	if _, ok := k.public.(*rsa.PublicKey); !ok {
		return ""
	}
	if k.pss {
		return PaddedByToken
	}
	return PaddedNot
}

// SignatureSchemes are those that the key can sign for in TLS, or nil for all of its kind. A key that makes no
// RSA-PSS cannot be used for TLS 1.3, which has no other RSA (RFC 8446, 4.2.3).
func (k *key) SignatureSchemes() []tls.SignatureScheme {
	if k.padding() == PaddedNot {
		return []tls.SignatureScheme{tls.PKCS1WithSHA256, tls.PKCS1WithSHA384, tls.PKCS1WithSHA512}
	}
	return nil
}

// String is the key in an error.
func (k *key) String() string {
	if k.name == "" {
		return fmt.Sprintf("the key %q", k.ref.Label)
	}
	return "key " + k.name
}

// Sign implements crypto.Signer. It makes ECDSA signatures in ASN.1, RSA PKCS #1 v1.5, and RSA-PSS with a salt as
// long as the hash; its randomness is the token's. What the module answers was verified when it is returned, except
// in a burst of ECDSA signatures: see the package.
func (k *key) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if k.gone.Load() {
		return nil, fmt.Errorf("sign with %s: it was deleted: %w", k, keys.ErrNotFound)
	}
	// Each rung of the ladder has its own deadline; this one is for all of them together.
	ctx, cancel := context.WithTimeout(context.Background(), 4*k.store.config.Deadline)
	defer cancel()
	if err := k.fit(opts); err != nil {
		return nil, fault.As(fault.Permanent, fmt.Errorf("sign with %s: %w", k, err))
	}
	signature, err := k.sign(ctx, digest, opts, k.believe)
	if err != nil {
		return nil, fmt.Errorf("sign with %s: %w", k, err)
	}
	return signature, nil
}

func (k *key) fit(opts crypto.SignerOpts) error {
	if _, pss := opts.(*rsa.PSSOptions); pss && !k.pss {
		return errors.New("this token makes no RSA-PSS signatures that TLS 1.3 accepts: limit the connection to TLS 1.2")
	}
	return nil
}

// judge says why a signature is not to be returned.
type judge func(digest, signature []byte, opts crypto.SignerOpts) error

func (k *key) sign(ctx context.Context, digest []byte, opts crypto.SignerOpts, good judge) ([]byte, error) {
	r, err := k.request(digest, opts)
	if err != nil {
		return nil, fault.As(fault.Permanent, err)
	}
	a, err := k.store.ask(ctx, r, func(a wire.Answer) error { return good(digest, a.Signature, opts) })
	return a.Signature, err
}

var hashes = []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512}

func (k *key) request(digest []byte, opts crypto.SignerOpts) (wire.Request, error) {
	hash := opts.HashFunc()
	if !slices.Contains(hashes, hash) {
		return wire.Request{}, fmt.Errorf("hash %v is none of SHA-256, SHA-384, SHA-512", hash)
	}
	if len(digest) != hash.Size() {
		return wire.Request{}, fmt.Errorf("digest of %d bytes is not one of %v", len(digest), hash)
	}
	r := wire.Request{Op: wire.Sign, Key: k.ref, Hash: uint(hash), Digest: digest}
	if p, ok := k.public.(*ecdsa.PublicKey); ok {
		// ECDSA uses no more of it (FIPS 186-5, 6.4.1), and there are tokens that refuse the rest.
		r.Digest = digest[:min(len(digest), p.Curve.Params().BitSize/8)]
		return r, nil
	}
	if pss, ok := opts.(*rsa.PSSOptions); ok {
		if pss.SaltLength != rsa.PSSSaltLengthEqualsHash && pss.SaltLength != len(digest) {
			return wire.Request{}, fmt.Errorf("PSS salt length %d: the salt is as long as the hash here", pss.SaltLength)
		}
		r.PSS = true
	}
	return r, nil
}

var errWrong = errors.New("its signature does not fit the public key")

// verify says why signature is not one that TLS accepts.
func verify(public crypto.PublicKey, digest, signature []byte, opts crypto.SignerOpts) error {
	if len(signature) == 0 {
		return errors.New("it reports success and gives no signature")
	}
	switch p := public.(type) {
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(p, digest, signature) {
			return errWrong
		}
	case *rsa.PublicKey:
		var err error
		if _, pss := opts.(*rsa.PSSOptions); pss {
			err = rsa.VerifyPSS(p, opts.HashFunc(), digest, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		} else {
			err = rsa.VerifyPKCS1v15(p, opts.HashFunc(), digest, signature)
		}
		if err != nil {
			return errWrong
		}
	}
	return nil
}
