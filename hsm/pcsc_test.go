package hsm_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/hsm"
	"github.com/devid-agent/devid-agent/hsm/hsmtest"
)

// cardPIN is of eight digits at most, as PIV wants it.
const cardPIN = "73519204"

func card(t *testing.T, change func(*hsm.Config)) (*hsmtest.Reader, *hsm.Store, crypto.Signer) {
	t.Helper()
	r := hsmtest.StartReader(t, newPIV(t), cardPIN)
	c := r.Config()
	if change != nil {
		change(&c)
	}
	s := r.Open(t, c)
	key, err := s.Load(t.Context(), "pkcs11:id=%01")
	if err != nil {
		t.Fatal(err)
	}
	verify(t, key)
	return r, s, key
}

// wantAbsent says that err does not name pcscd to a person, or is not one that passes.
func wantAbsent(t *testing.T, err error) {
	t.Helper()
	wantWords(t, err, "the token is not there: the module has no token")
	if fault.Of(err) != fault.Transient || !strings.Contains(fault.Hint(err), "pcscd") {
		t.Errorf("%v (%v, hint %q)", err, fault.Of(err), fault.Hint(err))
	}
}

func TestACardIsBackWhenPcscdIs(t *testing.T) {
	t.Parallel()
	r, s, key := card(t, nil)
	for range 2 {
		r.Kill()
		for range 2 { // found out, and known
			wantAbsent(t, sign(key))
			wantAbsent(t, s.Ping(t.Context()))
		}
		r.Run()
		verify(t, key)
	}
	r.Kill()
	r.Run() // so fast that nobody has noticed
	verify(t, key)
}

func TestACardIsFoundWhenPcscdStartsAfterTheAgent(t *testing.T) {
	t.Parallel()
	r := hsmtest.StartReader(t, newPIV(t), cardPIN)
	r.Kill()
	s := r.Open(t, r.Config())
	wantAbsent(t, s.Ping(t.Context()))
	r.Run()
	key, err := s.Load(t.Context(), "pkcs11:id=%01")
	if err != nil {
		t.Fatal(err)
	}
	verify(t, key)
}

func TestACardIsBackWhenItsPcscdNoLongerHangs(t *testing.T) {
	t.Parallel()
	r, _, key := card(t, func(c *hsm.Config) { c.Deadline = 5 * time.Second })
	r.Freeze()
	err := sign(key)
	wantWords(t, err, "the module did not answer in time, so its process was killed")
	if fault.Of(err) != fault.Transient {
		t.Errorf("%v: %v", fault.Of(err), err)
	}
	r.Thaw()
	verify(t, key)
}

// OpenSC 0.23 never answers again when the card goes between two of its commands.
func TestACardThatWasPulledIsBackInTheSameReader(t *testing.T) {
	t.Parallel()
	r, s, key := card(t, func(c *hsm.Config) { c.Deadline = 5 * time.Second })
	r.Pull()
	wait(t, "the card is gone", func() bool { return s.Ping(t.Context()) != nil })
	wantAbsent(t, sign(key))
	r.PutBack()
	wait(t, "the card is back", func() bool { return s.Ping(t.Context()) == nil })
	verify(t, key)
}

// piv is a PIV card (NIST SP 800-73-4) with one key in slot 9a, P-256, and with what signing takes, no more.
type piv struct {
	key         *ecdsa.PrivateKey
	certificate []byte
	verified    bool
	rest        []byte // of an answer that is longer than 256 bytes
}

// newPIV has a card whose certificate is in the name of the token: OpenSC makes the label of it.
func newPIV(t *testing.T) *piv {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "devid test"},
		NotBefore: time.Now(), NotAfter: time.Now().AddDate(1, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &piv{key: key, certificate: der}
}

// ATR is that of a card which OpenSC knows to have elliptic curves (IDEMIA, contactless).
func (c *piv) ATR() []byte {
	return []byte{0x3B, 0x86, 0x80, 0x01, 0x80, 0x31, 0xC1, 0x52, 0x41, 0x1A, 0x7E}
}

func (c *piv) Reset() { c.verified, c.rest = false, nil }

// Status words (ISO 7816-4).
const (
	done        = "\x90\x00"
	wrongPIN    = "\x63\xC3"
	notVerified = "\x69\x82"
	wrongData   = "\x6A\x80"
	notFound    = "\x6A\x82"
	unsupported = "\x6D\x00"
)

// Answer is to class, instruction, two parameters, and, where there are any, length and data.
func (c *piv) Answer(apdu []byte) []byte {
	if len(apdu) < 4 {
		return []byte(unsupported)
	}
	var data []byte
	if len(apdu) > 5 {
		data = apdu[5:min(len(apdu), 5+int(apdu[4]))]
	}
	switch apdu[1] {
	case 0xA4: // SELECT
		return c.choose(data)
	case 0xCB: // GET DATA
		return c.object(data)
	case 0xC0: // GET RESPONSE
		return c.say(c.rest)
	case 0x20: // VERIFY
		return c.verify(data)
	case 0x87: // GENERAL AUTHENTICATE
		return c.sign(apdu[2], apdu[3], data)
	}
	return []byte(unsupported)
}

func (c *piv) choose(id []byte) []byte {
	application := []byte{0xA0, 0, 0, 3, 8, 0, 0, 0x10, 0, 1, 0}
	if len(id) < 5 || !bytes.HasPrefix(application, id) {
		return []byte(notFound)
	}
	return c.say(tlv(0x61, tlv(0x4F, application[5:]), tlv(0x79, tlv(0x4F, application[:5]))))
}

func (c *piv) object(wanted []byte) []byte {
	if hex.EncodeToString(wanted) != "5c035fc105" { // the certificate of slot 9a
		return []byte(notFound)
	}
	return c.say(tlv(0x53, tlv(0x70, c.certificate), tlv(0x71, []byte{0}), tlv(0xFE)))
}

// say gives 256 bytes at most, and how many are left.
func (c *piv) say(b []byte) []byte {
	n := min(len(b), 256)
	c.rest = b[n:]
	if len(c.rest) > 0 {
		return append(b[:n:n], 0x61, byte(min(len(c.rest), 255)))
	}
	return append(b[:n:n], done...)
}

// verify looks at the PIN, which is padded to eight bytes, or says without one whether it is wanted.
func (c *piv) verify(pin []byte) []byte {
	if len(pin) > 0 {
		c.verified = string(pin) == cardPIN
	}
	if c.verified {
		return []byte(done)
	}
	return []byte(wrongPIN)
}

// sign gets 7C { 82 {}, 81 { digest } } and gives 7C { 82 { signature } }.
func (c *piv) sign(algorithm, slot byte, data []byte) []byte {
	const p256, digest = 0x11, 32
	if algorithm != p256 || slot != 0x9A || len(data) < digest {
		return []byte(wrongData)
	}
	if !c.verified {
		return []byte(notVerified)
	}
	signature, err := ecdsa.SignASN1(rand.Reader, c.key, data[len(data)-digest:])
	if err != nil {
		return []byte(wrongData)
	}
	return c.say(tlv(0x7C, tlv(0x82, signature)))
}

// tlv is an object in BER.
func tlv(tag byte, values ...[]byte) []byte {
	value := bytes.Join(values, nil)
	head := []byte{tag, byte(len(value))}
	if len(value) >= 0x80 {
		head = []byte{tag, 0x82, byte(len(value) >> 8), byte(len(value))}
	}
	return append(head, value...)
}
