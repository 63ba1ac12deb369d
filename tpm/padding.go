package tpm

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"math/big"

	"github.com/google/go-tpm/tpm2"
)

// Who pads an RSA-PSS signature, as keys.Facts says it.
const (
	PaddedByTPM = "rsa-pss by the tpm"
	// PaddedHere is for keys that also decrypt: we pad, and the TPM does the bare RSA operation.
	PaddedHere = "rsa-pss by the agent"
	// PaddedNot is for keys that only sign, in a TPM that pads otherwise than TLS wants it.
	PaddedNot = "pkcs1-v1.5 only: tls 1.2"
)

// raw pads the digest itself and has the TPM do the bare RSA operation, which a TPM calls decryption.
func (r signing) raw(t *session, key object, public *rsa.PublicKey) ([]byte, error) {
	size := public.Size()
	salt := make([]byte, len(r.digest))
	rand.Read(salt)
	padded := encodePSS(r.opts.HashFunc(), r.digest, salt, public.N.BitLen()-1, size)
	a, err := t.run(tpm2.TPMCCRSADecrypt, []object{key}, sized(padded), u16(tpm2.TPMAlgNull), sized(nil))
	if err != nil {
		return nil, err
	}
	message := a.sized()
	if len(message) > size {
		return nil, fmt.Errorf("the TPM answered with %d bytes for a key of %d", len(message), size)
	}
	return new(big.Int).SetBytes(message).FillBytes(make([]byte, size)), a.whole()
}

// encodePSS is EMSA-PSS-ENCODE of RFC 8017, 9.1.1, with MGF1 over the same hash, in size bytes of which bits count.
func encodePSS(hash crypto.Hash, digest, salt []byte, bits, size int) []byte {
	encoded := make([]byte, size)
	em := encoded[size-(bits+7)/8:]
	h := hash.New()
	h.Write(make([]byte, 8))
	h.Write(digest)
	h.Write(salt)
	seed := h.Sum(nil)

	block := em[:len(em)-len(seed)-1]
	copy(block[len(block)-len(salt):], salt)
	block[len(block)-len(salt)-1] = 1
	mask(hash, block, seed)
	block[0] &= 0xFF >> (8*len(em) - bits)
	copy(em[len(block):], seed)
	em[len(em)-1] = 0xBC
	return encoded
}

// mask xors block with MGF1 of the seed (RFC 8017, B.2.1).
func mask(hash crypto.Hash, block, seed []byte) {
	for counter := uint32(0); len(block) > 0; counter++ {
		h := hash.New()
		h.Write(seed)
		h.Write(binary.BigEndian.AppendUint32(nil, counter))
		sum := h.Sum(nil)
		n := min(len(block), len(sum))
		for i := range n {
			block[i] ^= sum[i]
		}
		block = block[n:]
	}
}

// isRaw reports that the key does the bare RSA operation for whoever may sign with it.
func isRaw(p tpm2.TPMTPublic) bool {
	algorithm, _ := fixedScheme(p)
	return p.Type == tpm2.TPMAlgRSA && p.ObjectAttributes.Decrypt && algorithm == tpm2.TPMAlgNull
}

// fixedScheme is the one scheme that an RSA key was made for, or TPM_ALG_NULL and the hash that we use to try it.
func fixedScheme(p tpm2.TPMTPublic) (tpm2.TPMAlgID, crypto.Hash) {
	detail, err := p.Parameters.RSADetail()
	if err != nil || detail.Scheme.Scheme == tpm2.TPMAlgNull {
		return tpm2.TPMAlgNull, crypto.SHA256
	}
	hash := crypto.SHA256
	if s, err := detail.Scheme.Details.RSASSA(); err == nil {
		hash = goHash(s.HashAlg)
	} else if s, err := detail.Scheme.Details.RSAPSS(); err == nil {
		hash = goHash(s.HashAlg)
	}
	return detail.Scheme.Scheme, hash
}

func goHash(a tpm2.TPMIAlgHash) crypto.Hash {
	for hash, known := range hashes {
		if known == a {
			return hash
		}
	}
	return crypto.SHA256
}

// schemes are what a key with that padding can sign in TLS, or nil for all of its kind.
func schemes(p tpm2.TPMTPublic, padding string) []tls.SignatureScheme {
	algorithm, hash := fixedScheme(p)
	var can []tls.SignatureScheme
	for _, s := range []struct {
		hash       crypto.Hash
		pkcs1, pss tls.SignatureScheme
	}{
		{crypto.SHA256, tls.PKCS1WithSHA256, tls.PSSWithSHA256},
		{crypto.SHA384, tls.PKCS1WithSHA384, tls.PSSWithSHA384},
		{crypto.SHA512, tls.PKCS1WithSHA512, tls.PSSWithSHA512},
	} {
		switch {
		case algorithm != tpm2.TPMAlgNull && s.hash != hash:
		case padding == PaddedNot:
			can = append(can, s.pkcs1)
		case algorithm == tpm2.TPMAlgRSAPSS:
			can = append(can, s.pss)
		}
	}
	return can
}
