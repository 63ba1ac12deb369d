package sim_test

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512" // SHA-384
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/devid-agent/devid-agent/sim"
)

// chip does with two keys what a TPM does with its endorsement key and its storage root key. It shares no code with
// the cloud.
type chip struct {
	t       *testing.T
	ek, srk *chipKey
}

type chipKey struct {
	public []byte // TPM2B_PUBLIC
	hash   crypto.Hash
	bits   int // of AES
	rsa    *rsa.PrivateKey
	ecc    *ecdh.PrivateKey
}

func u16(n int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(n)) }

func tpm2b(b ...[]byte) []byte {
	all := bytes.Join(b, nil)
	return append(u16(len(all)), all...)
}

// newChipKey makes a key with attributes and a policy of n bytes.
func newChipKey(t *testing.T, attributes uint32, policy []byte, private any) *chipKey {
	t.Helper()
	k := &chipKey{hash: crypto.SHA256, bits: 128}
	alg, kind, rest := 0x000b, 0x0001, []byte(nil)
	switch p := private.(type) {
	case *rsa.PrivateKey:
		k.rsa = p
		rest = bytes.Join([][]byte{u16(p.N.BitLen()), {0, 0, 0, 0}, tpm2b(p.N.Bytes())}, nil)
	case *ecdh.PrivateKey:
		k.ecc, kind = p, 0x0023
		curve := 0x0003
		if p.Curve() == ecdh.P384() {
			curve, alg, k.hash, k.bits = 0x0004, 0x000c, crypto.SHA384, 256
		}
		point := p.PublicKey().Bytes()[1:]
		rest = bytes.Join([][]byte{u16(curve), u16(0x0010), tpm2b(point[:len(point)/2]), tpm2b(point[len(point)/2:])}, nil)
	}
	k.public = tpm2b(u16(kind), u16(alg), binary.BigEndian.AppendUint32(nil, attributes), tpm2b(policy),
		u16(0x0006), u16(k.bits), u16(0x0043), u16(0x0010), rest)
	return k
}

func (k *chipKey) sum(b ...[]byte) []byte {
	h := k.hash.New()
	h.Write(bytes.Join(b, nil))
	return h.Sum(nil)
}

func (k *chipKey) name() []byte { return append(k.public[4:6:6], k.sum(k.public[2:])...) }

func (k *chipKey) kdfa(key []byte, label string, u []byte, bits int) []byte {
	h := hmac.New(k.hash.New, key)
	h.Write(bytes.Join([][]byte{{0, 0, 0, 1}, []byte(label), {0}, u, {0, 0}, u16(bits)}, nil))
	return h.Sum(nil)[:bits/8]
}

// seed opens a TPM2B_ENCRYPTED_SECRET.
func (k *chipKey) seed(t *testing.T, label string, sealed []byte) []byte {
	t.Helper()
	if k.rsa != nil {
		clear, err := rsa.DecryptOAEP(k.hash.New(), nil, k.rsa, sealed, []byte(label+"\x00"))
		if err != nil {
			t.Fatalf("%s: %v", label, err)
		}
		return clear
	}
	f := &cut{t, sealed}
	x, y := f.next(), f.next()
	other, err := k.ecc.Curve().NewPublicKey(bytes.Join([][]byte{{4}, x, y}, nil))
	if err != nil {
		t.Fatal(err)
	}
	z, err := k.ecc.ECDH(other)
	if err != nil {
		t.Fatal(err)
	}
	own := k.ecc.PublicKey().Bytes()[1:]
	return k.sum([]byte{0, 0, 0, 1}, z, []byte(label), []byte{0}, x, own[:len(own)/2])
}

// open undoes an outer wrap.
func (k *chipKey) open(t *testing.T, label string, name, wrapped, sealed []byte) []byte {
	t.Helper()
	seed := k.seed(t, label, sealed)
	f := &cut{t, wrapped}
	integrity := f.next()
	h := hmac.New(k.hash.New, k.kdfa(seed, "INTEGRITY", nil, k.hash.Size()*8))
	h.Write(f.rest)
	h.Write(name)
	if !hmac.Equal(h.Sum(nil), integrity) {
		t.Fatalf("%s: integrity", label)
	}
	return decrypt(k.kdfa(seed, "STORAGE", name, k.bits), f.rest)
}

func decrypt(key, sealed []byte) []byte {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	out := make([]byte, len(sealed))
	//lint:ignore SA1019 the TPM's mode
	cipher.NewCFBDecrypter(block, make([]byte, aes.BlockSize)).XORKeyStream(out, sealed)
	return out
}

// cut reads structures behind their length.
type cut struct {
	t    *testing.T
	rest []byte
}

func (c *cut) next() []byte {
	c.t.Helper()
	if len(c.rest) < 2 || len(c.rest) < 2+int(binary.BigEndian.Uint16(c.rest)) {
		c.t.Fatalf("cut short: %x", c.rest)
	}
	n := 2 + int(binary.BigEndian.Uint16(c.rest))
	b := c.rest[2:n]
	c.rest = c.rest[n:]
	return b
}

// activate takes a blob as the DPS sends it, and returns the key in it.
func (c *chip) activate(blob []byte) []byte {
	c.t.Helper()
	f := &cut{c.t, blob}
	credential, secret, duplicate, seed, public, last := f.next(), f.next(), f.next(), f.next(), f.next(), f.next()
	if len(f.rest) > 0 || len(last) > 0 {
		c.t.Fatalf("%d bytes too many", len(f.rest)+len(last))
	}
	inner := (&cut{c.t, c.ek.open(c.t, "IDENTITY", c.srk.name(), credential, secret)}).next()
	sum := sha256.Sum256(public)
	name := append([]byte{0, 0x0b}, sum[:]...)
	f = &cut{c.t, decrypt(inner, c.srk.open(c.t, "DUPLICATE", name, duplicate, seed))}
	integrity, sensitive := f.next(), f.next()
	check := sha256.Sum256(bytes.Join([][]byte{tpm2b(sensitive), name}, nil))
	if !bytes.Equal(check[:], integrity) || len(f.rest) > 0 {
		c.t.Fatal("inner integrity")
	}
	if !bytes.Equal(public[:14], []byte{0, 8, 0, 0x0b, 0, 4, 0, 0x40, 0, 0, 0, 5, 0, 0x0b}) || !bytes.Equal(sensitive[:2], []byte{0, 8}) {
		c.t.Fatalf("not an HMAC key: %x", public)
	}
	f = &cut{c.t, sensitive[2:]}
	auth, obfuscation, key := f.next(), f.next(), f.next()
	unique := sha256.Sum256(append(bytes.Clone(obfuscation), key...))
	if len(auth) > 0 || !bytes.Equal((&cut{c.t, public[14:]}).next(), unique[:]) {
		c.t.Fatal("public and sensitive area do not belong together")
	}
	return key
}

const (
	ekAttributes  = 0x000300b2
	srkAttributes = 0x00030472
)

func newChip(t *testing.T, ek, srk any) *chip {
	return &chip{t, newChipKey(t, ekAttributes, make([]byte, 32), ek), newChipKey(t, srkAttributes, nil, srk)}
}

func newRSAKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newPoint(t *testing.T, curve ecdh.Curve) *ecdh.PrivateKey {
	t.Helper()
	key, err := curve.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (c *chip) body(id, more string) string {
	return fmt.Sprintf(`{"registrationId":%q,"tpm":{"endorsementKey":%q,"storageRootKey":%q}%s}`, id, encode64(c.ek.public), encode64(c.srk.public), more)
}

// challenged registers without a token, and returns the key that the DPS asks it to sign with.
func (c *chip) challenged(b *browser, id, version string) []byte {
	c.t.Helper()
	r := b.want(401, "PUT", "/"+sim.IDScope+"/registrations/"+id+"/register?api-version="+version, c.body(id, ""))
	var ask struct {
		AuthenticationKey []byte
		KeyName, Status   string
	}
	r.into(c.t, &ask)
	if ask.KeyName != "registration" || strings.Contains(r.body, "status") {
		c.t.Fatalf("challenge %s", r.body)
	}
	return c.activate(ask.AuthenticationKey)
}
