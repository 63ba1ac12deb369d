package hand

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
	"github.com/devid-agent/devid-agent/provisioning"
)

// office is where a person signs: a root and an issuing CA below it.
type office struct {
	root, issuing *x509.Certificate
	key           crypto.Signer
	clock         time.Time // zero is ours
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := keystest.Generate(keys.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	t.Helper()
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now()
	}
	template.NotBefore, template.NotAfter = template.NotBefore.Add(-time.Minute), template.NotBefore.Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newOffice(t testing.TB) *office {
	t.Helper()
	ca := func(n int64) *x509.Certificate {
		return &x509.Certificate{SerialNumber: big.NewInt(n), Subject: pkix.Name{CommonName: "CA " + string(rune('0'+n))}, IsCA: true,
			BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	}
	rootKey, key := newKey(t), newKey(t)
	root := sign(t, ca(1), ca(1), rootKey.Public(), rootKey)
	return &office{root: root, issuing: sign(t, ca(2), root, key.Public(), rootKey), key: key}
}

// answer signs the request (PEM), for name or the name that it asks for.
func (o *office) answer(t testing.TB, request []byte, name string) []*x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(request)
	r, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil || r.CheckSignature() != nil {
		t.Fatalf("the request: %v, %v", err, r.CheckSignature())
	}
	if name == "" {
		name = r.Subject.CommonName
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(3), NotBefore: o.clock, Subject: pkix.Name{CommonName: name}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	return []*x509.Certificate{sign(t, leaf, o.issuing, r.PublicKey, o.key), o.issuing, o.root}
}

func openDesk(t testing.TB, path string) *Desk {
	t.Helper()
	d, err := Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func bring(path string, chain ...*x509.Certificate) error {
	_, err := Bring(path, []byte(identity.EncodeChain(chain)), time.Now())
	return err
}

func TestTheRequestWaitsThroughRestartsUntilItsChainIsBrought(t *testing.T) {
	path, r := t.TempDir(), provisioning.Request{DeviceID: "gateway-7", Key: newKey(t)}
	_, err := openDesk(t, path).Issue(t.Context(), r)
	if !errors.Is(err, provisioning.ErrPending) || fault.Of(err) != fault.Operator || !strings.Contains(fault.Hint(err), "import") {
		t.Fatalf("%v: %v: %s", fault.Of(err), err, fault.Hint(err))
	}
	request, err := Waiting(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openDesk(t, path).Issue(t.Context(), r); !errors.Is(err, provisioning.ErrPending) {
		t.Fatal(err)
	}
	if again, err := Waiting(path, nil); err != nil || !bytes.Equal(again, request) {
		t.Errorf("the request has changed under the person who carries it: %v", err)
	}
	chain := newOffice(t).answer(t, request, "")
	if err := bring(path, chain[2], chain[0], chain[1]); err != nil { // in any order
		t.Fatal(err)
	}
	got, err := openDesk(t, path).Issue(t.Context(), r)
	if err != nil || len(got) != 3 || !got[0].Equal(chain[0]) || !got[2].Equal(chain[2]) {
		t.Errorf("%d certificates, %v", len(got), err)
	}
}

func TestWhatDoesNotFitTheRequestIsNotTaken(t *testing.T) {
	path := t.TempDir()
	if err := bring(path, newOffice(t).root); fault.Of(err) != fault.Operator || !strings.Contains(err.Error(), "no request waits") {
		t.Errorf("without a request: %v", err)
	}
	_, _ = openDesk(t, path).Issue(t.Context(), provisioning.Request{DeviceID: "gateway-7", Key: newKey(t)})
	request, err := Waiting(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	o, other := newOffice(t), newOffice(t)
	good := o.answer(t, request, "")
	for name, c := range map[string]struct {
		chain []*x509.Certificate
		words string
	}{
		"another device":  {o.answer(t, request, "gateway-8"), `"gateway-8"`},
		"another key":     {[]*x509.Certificate{o.issuing, o.root}, "the key of the request"},
		"another issuer":  {[]*x509.Certificate{good[0], other.issuing}, ""},
		"the wrong chain": {nil, "no PEM block"},
	} {
		err := bring(path, c.chain...)
		if c.words == "" { // what has not signed the leaf is left out
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheNextCertificateNeedsARequestOfItsOwn(t *testing.T) {
	path, first := t.TempDir(), provisioning.Request{DeviceID: "gateway-7", Key: newKey(t)}
	_, _ = openDesk(t, path).Issue(t.Context(), first)
	request, err := Waiting(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	chain := newOffice(t).answer(t, request, "")
	if err := bring(path, chain...); err != nil {
		t.Fatal(err)
	}
	current := &identity.Identity{Grant: identity.Grant{Chain: chain}}
	if _, err := Waiting(path, current); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a request that has been answered still waits: %v", err)
	}
	next := provisioning.Request{DeviceID: "gateway-7", Key: newKey(t), Current: current}
	if _, err := openDesk(t, path).Issue(t.Context(), next); !errors.Is(err, provisioning.ErrPending) {
		t.Fatalf("the old chain served again: %v", err)
	}
	if again, err := Waiting(path, current); err != nil || bytes.Equal(again, request) {
		t.Errorf("no fresh request: %v", err)
	}
}

// A gateway without a battery for its clock is in 1970 after a power cut, and one that is enrolled by hand may have no
// network to ask for the time.
func TestAChainThatWasBroughtOutlastsAClockThatIsSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path, r := t.TempDir(), provisioning.Request{DeviceID: "gateway-7", Key: newKey(t)}
		_, _ = openDesk(t, path).Issue(t.Context(), r)
		request, err := Waiting(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		const back = 365 * 24 * time.Hour // how far our clock is behind the office's
		o := newOffice(t)
		o.clock = time.Now().Add(back)
		chain := o.answer(t, request, "")
		if _, err := Bring(path, []byte(identity.EncodeChain(chain)), o.clock); err != nil {
			t.Fatal(err)
		}
		_, err = openDesk(t, path).Issue(t.Context(), r)
		if !errors.Is(err, provisioning.ErrPending) || !strings.Contains(err.Error(), "the clock says") || !strings.Contains(fault.Hint(err), "clock") {
			t.Errorf("%v: %s", err, fault.Hint(err))
		}
		time.Sleep(back)
		if got, err := openDesk(t, path).Issue(t.Context(), r); err != nil || !got[0].Equal(chain[0]) {
			t.Errorf("with the clock set: %v", err)
		}
		time.Sleep(2 * time.Hour)
		if _, err := openDesk(t, path).Issue(t.Context(), r); !errors.Is(err, provisioning.ErrPending) || !strings.Contains(fault.Hint(err), "another chain") {
			t.Errorf("expired: %v: %s", err, fault.Hint(err))
		}
		o.clock = time.Now()
		if _, err := Bring(path, []byte(identity.EncodeChain(o.answer(t, request, ""))), o.clock); err != nil {
			t.Fatal(err)
		}
		if _, err := openDesk(t, path).Issue(t.Context(), r); err != nil {
			t.Errorf("with another chain: %v", err)
		}
	})
}

func FuzzBring(f *testing.F) {
	path := f.TempDir()
	_, _ = openDesk(f, path).Issue(f.Context(), provisioning.Request{DeviceID: "gateway-7", Key: newKey(f)})
	request, err := Waiting(path, nil)
	if err != nil {
		f.Fatal(err)
	}
	chain := newOffice(f).answer(f, request, "")
	f.Add([]byte(identity.EncodeChain(chain)))
	f.Add([]byte(identity.EncodeChain(chain[1:])))
	f.Add(append([]byte(identity.EncodeChain(chain[:1])), identity.EncodeChain(chain[:1])...))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if taken, err := Bring(path, text, time.Now()); err == nil && !taken[0].Equal(chain[0]) {
			t.Error("took a certificate that nobody has signed for this request")
		}
	})
}
