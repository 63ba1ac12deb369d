package sim

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
)

// wrapKey protects an HMAC key so that only the TPM with these two keys can use it, and nobody can read it: a
// credential for the endorsement key, bound to the storage root key, carries the inner key of a duplicate ("TPM
// attestation"; TPM 2.0 part 1, sections 23 and 24). The parts follow each other as Microsoft's clients read them.
func wrapKey(ekPublic, srkPublic, key []byte) ([]byte, error) {
	ek, err := parsePublic(ekPublic)
	if err != nil {
		return nil, fmt.Errorf("endorsement key: %w", err)
	}
	srk, err := parsePublic(srkPublic)
	if err != nil {
		return nil, fmt.Errorf("storage root key: %w", err)
	}
	inner := newSecret(16)
	credential, credentialSecret, err := ek.protect("IDENTITY", srk.name, sized(inner))
	if err != nil {
		return nil, err
	}
	public, sensitive := hmacKey(key)
	name := append([]byte{0, tpmSHA256}, sum256(public)...)
	sealed := cfb(inner, append(sized(sum256(slices.Concat(sized(sensitive), name))), sized(sensitive)...))
	duplicate, seed, err := srk.protect("DUPLICATE", name, sealed)
	if err != nil {
		return nil, err
	}
	return slices.Concat(sized(credential), sized(credentialSecret), sized(duplicate), sized(seed), sized(public), sized(nil)), nil
}

// hmacKey is a KEYEDHASH object: its TPMT_PUBLIC and its TPMT_SENSITIVE.
func hmacKey(key []byte) (public, sensitive []byte) {
	seed := newSecret(32)
	put := binary.BigEndian.AppendUint16
	public = put(put(nil, tpmKeyedHash), tpmSHA256)
	public = binary.BigEndian.AppendUint32(public, 1<<18|1<<6) // sign, userWithAuth
	public = put(put(put(public, 0), tpmHMAC), tpmSHA256)
	public = append(public, sized(sum256(append(slices.Clone(seed), key...)))...)
	sensitive = slices.Concat(put(nil, tpmKeyedHash), sized(nil), sized(seed), sized(key))
	return public, sensitive
}

// protect encrypts secret for the key p: the outer wrap, TPM 2.0 part 1, section 22.4. It returns the wrapped
// secret with its HMAC, and the seed that only p can read.
func (p *tpmPublic) protect(label string, name, secret []byte) (wrapped, seed []byte, err error) {
	clear, seed, err := p.newSeed(label)
	if err != nil {
		return nil, nil, fmt.Errorf("seed for %s: %w", label, err)
	}
	sealed := cfb(p.kdfa(clear, "STORAGE", name, p.aesBits), secret)
	h := hmac.New(p.hash.New, p.kdfa(clear, "INTEGRITY", nil, p.hash.Size()*8))
	h.Write(sealed)
	h.Write(name)
	return append(sized(h.Sum(nil)), sealed...), seed, nil
}

// newSeed draws a seed, and encrypts it for p: TPM 2.0 part 1, annexes B.10.3 and C.6.3.
func (p *tpmPublic) newSeed(label string) (clear, sealed []byte, err error) {
	if p.rsa != nil {
		clear = newSecret(p.hash.Size())
		sealed, err = rsa.EncryptOAEP(p.hash.New(), rand.Reader, p.rsa, clear, append([]byte(label), 0))
		return clear, sealed, err
	}
	own, err := p.ecc.Curve().GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	z, err := own.ECDH(p.ecc)
	if err != nil {
		return nil, nil, err
	}
	x, y := point(own.PublicKey())
	other, _ := point(p.ecc)
	return p.kdfe(z, label, x, other), append(sized(x), sized(y)...), nil
}

func point(k *ecdh.PublicKey) (x, y []byte) {
	b := k.Bytes()[1:]
	return b[:len(b)/2], b[len(b)/2:]
}

// kdfa is TPM 2.0 part 1, section 11.4.10.2, with an empty second party.
func (p *tpmPublic) kdfa(key []byte, label string, party []byte, bits int) []byte {
	var out []byte
	for i := uint32(1); len(out)*8 < bits; i++ {
		h := hmac.New(p.hash.New, key)
		h.Write(binary.BigEndian.AppendUint32(nil, i))
		h.Write(append([]byte(label), 0))
		h.Write(party)
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(bits)))
		out = h.Sum(out)
	}
	return out[:bits/8]
}

// kdfe is TPM 2.0 part 1, section 11.4.10.3: one round, since a seed is as long as the hash.
func (p *tpmPublic) kdfe(z []byte, label string, u, v []byte) []byte {
	return p.digest(slices.Concat([]byte{0, 0, 0, 1}, z, []byte(label), []byte{0}, u, v))
}

// cfb encrypts with an initialization vector of zero, as the TPM does under a key that is used once.
func cfb(key, clear []byte) []byte {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // our own keys
	}
	out := make([]byte, len(clear))
	//lint:ignore SA1019 it is what TPMs speak, and an HMAC stands beside it
	cipher.NewCFBEncrypter(block, make([]byte, aes.BlockSize)).XORKeyStream(out, clear)
	return out
}

func newSecret(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func sum256(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}
