package hsm_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/hsm"
	"github.com/devid-agent/devid-agent/hsm/hsmtest"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
)

// liar is a module whose 12th signature is wrong, and those up to the last-th: the first is the probe at opening, and
// in a burst the helper is trusted from the 9th.
type liar struct {
	*hsm.Store
	key crypto.Signer
	log bytes.Buffer // to be read after Close
}

func newLiar(t *testing.T, a keys.Algorithm, last string) *liar {
	t.Helper()
	bad, honest := hsmtest.Hostile(t, "WRONG", "FROM=12", "TO="+last)
	c := honest.Config()
	c.Algorithm = a
	s := honest.Open(t, c)
	create(t, s, "device-g1")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	l := &liar{}
	c = bad.Config()
	c.Log = slog.New(slog.NewTextHandler(&l.log, nil))
	l.Store = bad.Open(t, c)
	var err error
	if l.key, err = l.Open(t.Context(), "device-g1"); err != nil {
		t.Fatal(err)
	}
	return l
}

// sign reports how many of n signatures its receiver would refuse, and what came instead of the others.
func (l *liar) sign(t *testing.T, n int) (wrong int, errs []error) {
	t.Helper()
	for i := range n {
		digest := make([]byte, 32)
		digest[0] = byte(i)
		signature, err := l.key.Sign(rand.Reader, digest, crypto.SHA256)
		if err != nil {
			errs = append(errs, err)
		} else if keystest.CheckSignature(l.key.Public(), digest, signature, crypto.SHA256) != nil {
			wrong++
		}
	}
	return wrong, errs
}

// said closes the store and wants the log to name the lie and a remedy, or to be silent.
func (l *liar) said(t *testing.T, lie bool) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, words := range []string{"the module lies", "does not fit the public key"} {
		if strings.Contains(l.log.String(), words) != lie {
			t.Errorf("the log says %q: %v, want %v:\n%s", words, !lie, lie, &l.log)
		}
	}
}

func TestAWrongSignatureInABurstCostsTheHelper(t *testing.T) {
	for _, a := range []keys.Algorithm{keys.ECDSAP256, keys.ECDSAP384} {
		l := newLiar(t, a, "12")
		if wrong, errs := l.sign(t, 20); wrong != 1 || errs != nil {
			t.Errorf("%s: %d wrong signatures got out, want 1; %v", a, wrong, errs)
		}
		if h := l.Health(); h.Helpers != 1 || h.Started != 2 {
			t.Errorf("%s: health %+v, want one new helper", a, h)
		}
		l.said(t, true)
	}
}

func TestAModuleThatBeginsToLieIsNamedAndTrustedNoMore(t *testing.T) {
	l := newLiar(t, keys.ECDSAP256, "1000")
	wrong, errs := l.sign(t, 16)
	if wrong != 1 || len(errs) != 5 {
		t.Fatalf("%d wrong signatures got out, and %d errors for 5 more", wrong, len(errs))
	}
	for _, err := range errs {
		wantWords(t, err, "the module lies", "does not fit the public key", "after a new helper", "sign with key device-g1")
	}
	l.said(t, true)
}

func TestTheLastSignatureOfABurstIsVerifiedWithoutANextOne(t *testing.T) {
	l := newLiar(t, keys.ECDSAP256, "12")
	if wrong, errs := l.sign(t, 11); wrong != 1 || errs != nil {
		t.Fatalf("%d wrong signatures, %v", wrong, errs)
	}
	wait(t, "the helper that lied is gone", func() bool { h := l.Health(); return h.Helpers == 1 && h.PID == 0 })
	l.said(t, true)
}

func TestTheLastSignatureOfABurstIsVerifiedAtClose(t *testing.T) {
	l := newLiar(t, keys.ECDSAP256, "12")
	if wrong, errs := l.sign(t, 11); wrong != 1 || errs != nil {
		t.Fatalf("%d wrong signatures, %v", wrong, errs)
	}
	l.said(t, true)
}

func TestANewHelperIsNotTrustedYet(t *testing.T) {
	l := newLiar(t, keys.ECDSAP256, "12")
	if wrong, errs := l.sign(t, 10); wrong != 0 || errs != nil {
		t.Fatalf("%d wrong signatures, %v", wrong, errs)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if wrong, errs := l.sign(t, 1); wrong != 0 || errs != nil {
		t.Errorf("%d wrong signatures got out, %v", wrong, errs)
	}
	l.said(t, true)
}

func TestEvidenceIsAlwaysVerifiedFirst(t *testing.T) {
	l := newLiar(t, keys.ECDSAP256, "12")
	if wrong, errs := l.sign(t, 10); wrong != 0 || errs != nil {
		t.Fatalf("%d wrong signatures, %v", wrong, errs)
	}
	e, err := l.Attest(t.Context(), "device-g1", make([]byte, 16))
	if err != nil {
		t.Fatal(err)
	}
	if err := keystest.CheckSignature(l.key.Public(), e.Statement(), e.Token.Signature, crypto.SHA256); err != nil {
		t.Errorf("the evidence: %v", err)
	}
	l.said(t, true)
}

func TestAnRSASignatureIsAlwaysVerifiedFirst(t *testing.T) {
	l := newLiar(t, keys.RSA2048, "12")
	if wrong, errs := l.sign(t, 20); wrong != 0 || errs != nil {
		t.Errorf("%d wrong signatures got out, %v", wrong, errs)
	}
	l.said(t, true)
}

func TestABurstOfRightSignaturesIsNotDoubted(t *testing.T) {
	l := newLiar(t, keys.ECDSAP256, "11")
	for range 3 {
		if wrong, errs := l.sign(t, 10); wrong != 0 || errs != nil {
			t.Errorf("%d wrong signatures, %v", wrong, errs)
		}
		time.Sleep(30 * time.Millisecond) // longer than the last one's verification waits for a next question
	}
	if h := l.Health(); h.Started != 1 || h.PID == 0 {
		t.Errorf("health %+v", h)
	}
	l.said(t, false)
}
