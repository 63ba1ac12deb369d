package tpm_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"math/big"
	"slices"
	"testing"

	"github.com/google/go-tpm/tpm2"
)

// service is the Device Provisioning Service as it makes an authenticationKey. It builds the bytes itself, by TPM 2.0
// Library, part 1, 24 (credentials) and 23.3 (duplication), and shares no code with the device.
type service struct {
	key  []byte // of the HMAC
	seed []byte // value in the sensitive area
	wrap []byte // key of the inner wrapping
}

func newService() *service {
	return &service{key: random(32), seed: random(32), wrap: random(16)}
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// sum is what the device is to answer with.
func (s *service) sum(data []byte) []byte { return mac(s.key, data) }

// parts are the six structures for a chip with those keys, TPM2B_PUBLIC each.
func (s *service) parts(t *testing.T, ek, srk []byte) [][]byte {
	t.Helper()
	root := nameOf(srk[2:])
	public := s.public()
	id := nameOf(public)
	sensitive := size2(slices.Concat([]byte{0, 8}, size2(nil), size2(s.seed), size2(s.key)))
	digest := sha256.Sum256(append(bytes.Clone(sensitive), id...))
	inner := cfb(s.wrap, append(size2(digest[:]), sensitive...))

	seed := random(32)
	outer := cfb(kdfa(seed, "STORAGE", id, 128), inner)
	duplicate := append(size2(mac(kdfa(seed, "INTEGRITY", nil, 256), append(bytes.Clone(outer), id...))), outer...)
	credential, secret := s.credential(t, ek, root)
	return [][]byte{size2(credential), size2(secret), size2(duplicate), size2(oaep(t, srk, seed, "DUPLICATE")), size2(public), {0, 0}}
}

func (s *service) blob(t *testing.T, ek, srk []byte) []byte {
	t.Helper()
	return slices.Concat(s.parts(t, ek, srk)...)
}

// public is the TPMT_PUBLIC of the HMAC key: userWithAuth and sign.
func (s *service) public() []byte {
	unique := sha256.Sum256(append(bytes.Clone(s.seed), s.key...))
	return slices.Concat([]byte{0, 8, 0, 0x0B, 0, 4, 0, 0x40, 0, 0, 0, 5, 0, 0x0B}, size2(unique[:]))
}

// credential is the TPMS_ID_OBJECT and its seed, for an RSA endorsement key by the bytes, for others by go-tpm.
func (s *service) credential(t *testing.T, ek, root []byte) (object, secret []byte) {
	t.Helper()
	if tpm2.TPMAlgID(binary.BigEndian.Uint16(ek[2:])) != tpm2.TPMAlgRSA {
		public, err := tpm2.Unmarshal[tpm2.TPMTPublic](ek[2:])
		if err != nil {
			t.Fatal(err)
		}
		to, err := tpm2.ImportEncapsulationKey(public)
		if err != nil {
			t.Fatal(err)
		}
		object, secret, err = tpm2.CreateCredential(rand.Reader, to, root, s.wrap)
		if err != nil {
			t.Fatal(err)
		}
		return object, secret
	}
	seed := random(32)
	identity := cfb(kdfa(seed, "STORAGE", root, 128), size2(s.wrap))
	integrity := mac(kdfa(seed, "INTEGRITY", nil, 256), append(bytes.Clone(identity), root...))
	return append(size2(integrity), identity...), oaep(t, ek, seed, "IDENTITY")
}

// oaep encrypts to the RSA key of a TPM2B_PUBLIC, whose last 256 bytes are the modulus.
func oaep(t *testing.T, public, seed []byte, label string) []byte {
	t.Helper()
	key := &rsa.PublicKey{N: new(big.Int).SetBytes(public[len(public)-256:]), E: 65537}
	b, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, key, seed, []byte(label+"\x00"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func size2(b []byte) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...) }

func nameOf(public []byte) []byte {
	sum := sha256.Sum256(public)
	return append([]byte{0, 0x0B}, sum[:]...)
}

func mac(key, data []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(data)
	return m.Sum(nil)
}

// kdfa is KDFa of part 1, 11.4.10.2, for up to 256 bits.
func kdfa(key []byte, label string, u []byte, bits uint32) []byte {
	data := append(binary.BigEndian.AppendUint32(nil, 1), label...)
	data = append(append(data, 0), u...)
	return mac(key, binary.BigEndian.AppendUint32(data, bits))[:bits/8]
}

func cfb(key, data []byte) []byte {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	out := bytes.Clone(data)
	//lint:ignore SA1019 TPMs encrypt so
	cipher.NewCFBEncrypter(block, make([]byte, 16)).XORKeyStream(out, out)
	return out
}
