package sim

import (
	"crypto"
	"crypto/ecdh"
	"crypto/rsa"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// Algorithm and curve identifiers, TPM 2.0 part 2, sections 6.3 and 6.4.
const (
	tpmRSA       = 0x0001
	tpmHMAC      = 0x0005
	tpmAES       = 0x0006
	tpmKeyedHash = 0x0008
	tpmSHA256    = 0x000b
	tpmSHA384    = 0x000c
	tpmNull      = 0x0010
	tpmECC       = 0x0023
	tpmCFB       = 0x0043
	tpmP256      = 0x0003
	tpmP384      = 0x0004

	// restricted and decrypt: a storage key, TPM 2.0 part 2, section 8.3.
	tpmStorage = 1<<16 | 1<<17
)

// tpmPublic is a storage key of a TPM: what is needed to protect something for it.
type tpmPublic struct {
	hash    crypto.Hash // of its name
	aesBits int
	rsa     *rsa.PublicKey
	ecc     *ecdh.PublicKey
	name    []byte
}

// parsePublic takes a TPM2B_PUBLIC of a storage key apart, TPM 2.0 part 2, section 12.2.
func parsePublic(b []byte) (*tpmPublic, error) {
	f := &tpmFields{rest: b}
	area := f.sized()
	if f.err == nil && len(f.rest) > 0 {
		f.err = errors.New("bytes after its end")
	}
	p := &tpmPublic{}
	if f.err == nil {
		f = &tpmFields{rest: area}
		f.err = p.parse(f, area)
	}
	if f.err != nil {
		return nil, fmt.Errorf("TPM2B_PUBLIC: %w", f.err)
	}
	return p, nil
}

func (p *tpmPublic) parse(f *tpmFields, area []byte) error {
	kind, alg, attributes := f.short(), f.short(), f.long()
	f.sized() // the policy
	p.hash = map[uint16]crypto.Hash{tpmSHA256: crypto.SHA256, tpmSHA384: crypto.SHA384}[alg]
	symmetric, bits, mode := f.short(), f.short(), f.short()
	scheme := f.short()
	switch {
	case f.err != nil:
		return f.err
	case p.hash == 0:
		return fmt.Errorf("name algorithm %#x", alg)
	case attributes&tpmStorage != tpmStorage:
		return errors.New("not a storage key")
	case symmetric != tpmAES || mode != tpmCFB || !slices.Contains([]uint16{128, 192, 256}, bits):
		return errors.New("its symmetric algorithm is not AES-CFB")
	case scheme != tpmNull:
		return errors.New("a storage key with a scheme")
	}
	p.aesBits = int(bits)
	p.name = append(binary.BigEndian.AppendUint16(nil, alg), p.digest(area)...)
	if err := p.parseKey(kind, f); err != nil {
		return err
	}
	if f.err == nil && len(f.rest) > 0 {
		return errors.New("bytes after its key")
	}
	return f.err
}

func (p *tpmPublic) parseKey(kind uint16, f *tpmFields) error {
	switch kind {
	case tpmRSA:
		bits, exponent := f.short(), f.long()
		modulus := f.sized()
		if exponent == 0 {
			exponent = 65537
		}
		if f.err == nil && (len(modulus)*8 != int(bits) || bits < 2048 || modulus[0]&0x80 == 0 || exponent&1 == 0 || exponent < 3 || exponent > 1<<31-1) {
			return errors.New("its RSA key")
		}
		p.rsa = &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: int(exponent)}
		return f.err
	case tpmECC:
		return p.parsePoint(f)
	}
	return fmt.Errorf("key type %#x", kind)
}

func (p *tpmPublic) parsePoint(f *tpmFields) error {
	curve, kdf := f.short(), f.short()
	x, y := f.sized(), f.sized()
	c := map[uint16]ecdh.Curve{tpmP256: ecdh.P256(), tpmP384: ecdh.P384()}[curve]
	size := map[uint16]int{tpmP256: 32, tpmP384: 48}[curve]
	switch {
	case f.err != nil:
		return f.err
	case c == nil || kdf != tpmNull:
		return fmt.Errorf("curve %#x with KDF %#x", curve, kdf)
	case len(x) > size || len(y) > size:
		return errors.New("its point")
	}
	var err error
	p.ecc, err = c.NewPublicKey(slices.Concat([]byte{4}, padLeft(x, size), padLeft(y, size)))
	return err
}

func (p *tpmPublic) digest(b []byte) []byte {
	h := p.hash.New()
	h.Write(b)
	return h.Sum(nil)
}

func padLeft(b []byte, size int) []byte { return append(make([]byte, size-len(b)), b...) }

// tpmFields takes a structure apart. After the first mistake every answer is zero and err says what it was.
type tpmFields struct {
	rest []byte
	err  error
}

func (f *tpmFields) take(n int) []byte {
	if f.err == nil && len(f.rest) < n {
		f.err = errors.New("it ends too early")
	}
	if f.err != nil {
		return make([]byte, n)
	}
	b := f.rest[:n]
	f.rest = f.rest[n:]
	return b
}

func (f *tpmFields) short() uint16 { return binary.BigEndian.Uint16(f.take(2)) }
func (f *tpmFields) long() uint32  { return binary.BigEndian.Uint32(f.take(4)) }
func (f *tpmFields) sized() []byte { return f.take(int(f.short())) }

// sized is b behind its length, as a TPM2B has it.
func sized(b []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
}
