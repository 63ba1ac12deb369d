package tpmtest

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/binary"
	"math/big"
	"sync"
	"testing"

	"github.com/google/go-tpm/tpm2"
)

// LongSalt makes the TPM pad RSA-PSS with the largest salt that fits, as those do that were made before revision
// 1.38 of the specification, for RSA-2048 keys without a password that are made from now on.
//
// swtpm pads as it should and gives no private key away, so the relay makes an RSA key of its own for each that the
// TPM makes, shows its modulus in the place of the TPM's, and answers the commands that use the key.
func (p *TPM) LongSalt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.salt = &longSalt{t: p.t}
}

type longSalt struct {
	t    testing.TB
	mu   sync.Mutex
	keys []stolen
}

// stolen is a key whose modulus stands in for that of the TPM's.
type stolen struct {
	real []byte
	ours *rsa.PrivateKey
}

type exchange func(command []byte) ([]byte, error)

func (l *longSalt) between(to exchange) exchange {
	return func(command []byte) ([]byte, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, k := range l.keys {
			command = bytes.ReplaceAll(command, modulus(k.ours), k.real)
		}
		code := tpm2.TPMCC(binary.BigEndian.Uint32(command[6:]))
		answer, err := to(command)
		if err != nil || binary.BigEndian.Uint32(answer[6:]) != 0 {
			return answer, err
		}
		switch code {
		case tpm2.TPMCCCreate:
			l.steal(answer)
		case tpm2.TPMCCSign, tpm2.TPMCCRSADecrypt:
			l.use(code, to, command, answer)
		}
		for _, k := range l.keys {
			answer = bytes.ReplaceAll(answer, k.real, modulus(k.ours))
		}
		return answer, nil
	}
}

func modulus(k *rsa.PrivateKey) []byte { return k.N.FillBytes(make([]byte, 256)) }

// steal makes a key for the one that TPM2_Create has answered with: after header, size of the parameters, private
// area comes the public area, whose last 256 bytes are the modulus.
func (l *longSalt) steal(answer []byte) {
	rest := answer[14:]
	rest = rest[2+binary.BigEndian.Uint16(rest):]
	public := rest[2 : 2+binary.BigEndian.Uint16(rest)]
	if tpm2.TPMAlgID(binary.BigEndian.Uint16(public)) != tpm2.TPMAlgRSA {
		return
	}
	ours, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		l.t.Error(err)
		return
	}
	l.keys = append(l.keys, stolen{bytes.Clone(public[len(public)-256:]), ours})
}

// use puts our signature, or decryption, in the place of the TPM's: they are equally long.
func (l *longSalt) use(code tpm2.TPMCC, to exchange, command, answer []byte) {
	key := l.at(to, command[10:14])
	if key == nil {
		return
	}
	parameters := command[18+binary.BigEndian.Uint32(command[14:]):]
	input := parameters[2 : 2+binary.BigEndian.Uint16(parameters)]
	if code == tpm2.TPMCCRSADecrypt {
		raw := new(big.Int).Exp(new(big.Int).SetBytes(input), key.D, key.N)
		copy(answer[16:], raw.FillBytes(make([]byte, 256)))
		return
	}
	signature, err := sign(key, input, tpm2.TPMAlgID(binary.BigEndian.Uint16(answer[14:])))
	if err != nil {
		l.t.Error(err)
	}
	copy(answer[20:], signature)
}

func sign(key *rsa.PrivateKey, digest []byte, scheme tpm2.TPMAlgID) ([]byte, error) {
	hash := map[int]crypto.Hash{32: crypto.SHA256, 48: crypto.SHA384, 64: crypto.SHA512}[len(digest)]
	if scheme == tpm2.TPMAlgRSASSA {
		return rsa.SignPKCS1v15(rand.Reader, key, hash, digest)
	}
	return rsa.SignPSS(rand.Reader, key, hash, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto})
}

// at asks the TPM which key lies at the handle.
func (l *longSalt) at(to exchange, handle []byte) *rsa.PrivateKey {
	answer, err := to(append([]byte{0x80, 0x01, 0, 0, 0, 14, 0, 0, 0x01, 0x73}, handle...)) // TPM2_ReadPublic
	if err != nil {
		l.t.Error(err)
		return nil
	}
	for _, k := range l.keys {
		if bytes.Contains(answer, k.real) {
			return k.ours
		}
	}
	return nil
}
