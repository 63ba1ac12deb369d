package station_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/hsm"
	"github.com/devid-agent/devid-agent/hsm/hsmtest"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/sim"
	"github.com/devid-agent/devid-agent/station"
	"github.com/devid-agent/devid-agent/tpm"
	"github.com/devid-agent/devid-agent/tpm/tpmtest"
)

// selfSigned is the certificate of an application.
func selfSigned(t *testing.T, key crypto.Signer) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "station"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), SignatureAlgorithm: x509.SHA256WithRSA}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func rsaKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// listsCAs gets a token with the certificate of a new application, and asks EZCA with it.
func listsCAs(t *testing.T, c *cloud, key crypto.Signer, algorithm string) error {
	t.Helper()
	x := selfSigned(t, key)
	app := c.EntraApp(sim.EntraApp{Name: "station", Certificates: []*x509.Certificate{x}})
	token, err := c.entra(app.ClientID).WithAssertion(station.Assertion{Certificate: x, Key: key, Algorithm: algorithm})
	if err != nil {
		return err
	}
	for range 3 {
		if _, err := c.ezca(token).CAs(t.Context()); err != nil {
			return err
		}
	}
	if n := c.EntraCount(app.ClientID); n != 1 {
		t.Errorf("Entra was asked %d times for one token", n)
	}
	return nil
}

func TestCertificateInAFileOpensEntra(t *testing.T) {
	c := newCloud(t, sim.Temper{})
	if err := listsCAs(t, c, rsaKey(t), ""); err != nil {
		t.Error(err)
	}
}

func TestCertificateWhoseKeyIsInATPMOpensEntra(t *testing.T) {
	s, err := tpm.Open(tpm.Config{TCTI: tpmtest.Start(t).TCTI(), Dir: t.TempDir(), Algorithm: keys.RSA2048})
	if err != nil {
		t.Fatal(err)
	}
	key, err := s.Create(t.Context(), "entra")
	if err != nil {
		t.Fatal(err)
	}
	if err := listsCAs(t, newCloud(t, sim.Temper{}), key, ""); err != nil {
		t.Error(err)
	}
}

func TestCertificateWhoseKeyIsInATokenOpensEntra(t *testing.T) {
	token := hsmtest.Start(t)
	c := token.Config()
	c.Algorithm = keys.RSA2048
	s, err := hsm.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Create(t.Context(), "entra"); err != nil {
		t.Fatal(err)
	}
	p := station.Place{PKCS11: c.URI, PIN: c.PIN, Helper: c.Helper, Environment: c.Env}
	uri := strings.Replace(c.URI, "?", ";object=devid-agent%3Aentra?", 1)
	key, end, err := p.LoadKey(t.Context(), uri, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	if err := listsCAs(t, newCloud(t, sim.Temper{}), key, ""); err != nil {
		t.Error(err)
	}
}

func TestHardwareThatPadsWronglyIsFoundOutAndHasAWayOut(t *testing.T) {
	key := largeSalt{rsaKey(t)}
	c := newCloud(t, sim.Temper{Entra: sim.EntraTemper{AllowRS256: true}})
	if err := listsCAs(t, c, key, ""); err == nil || !strings.Contains(fault.Hint(err), "--entra-alg RS256") {
		t.Errorf("%v: %s", err, fault.Hint(err))
	}
	if err := listsCAs(t, c, key, "RS256"); err != nil {
		t.Error(err)
	}
}

// largeSalt pads as TPMs before revision 1.59 do.
type largeSalt struct{ crypto.Signer }

func (l largeSalt) Sign(random io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	if p, ok := o.(*rsa.PSSOptions); ok {
		o = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto, Hash: p.Hash}
	}
	return l.Signer.Sign(random, digest, o)
}

func TestRefusalsOfEntraAreInWords(t *testing.T) {
	c := newCloud(t, sim.Temper{})
	key := rsaKey(t)
	app := c.EntraApp(sim.EntraApp{Name: "other", Certificates: []*x509.Certificate{selfSigned(t, rsaKey(t))}})
	for words, client := range map[string]string{"register the certificate": app.ClientID, "not in this tenant": "99999999-2222-3333-4444-555555555555"} {
		token, err := c.entra(client).WithAssertion(station.Assertion{Certificate: selfSigned(t, key), Key: key})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := token(t.Context()); fault.Of(err) != fault.Operator || !strings.Contains(fault.Hint(err), words) || strings.Contains(err.Error(), "\n") {
			t.Errorf("want the remedy %q: %v | %s", words, err, fault.Hint(err))
		}
	}
	if _, err := c.entra(app.ClientID).WithAssertion(station.Assertion{Certificate: selfSigned(t, key), Key: newKey(t)}); err == nil || !strings.Contains(fault.Hint(err), "RSA") {
		t.Errorf("an EC key: %v", err)
	}
}

func TestManagedIdentityOpensEZCA(t *testing.T) {
	c := newCloud(t, sim.Temper{})
	token, err := station.Entra{Tries: 1, Connect: c.IMDSAddr()}.Managed()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.ezca(token).CAs(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestTokenFileIsReadAnewAndHasOneToken(t *testing.T) {
	file := write(t, "token", []byte("first\n"))
	token := station.TokenFile(file)
	if got, err := token(t.Context()); err != nil || got != "first" {
		t.Errorf("%q, %v", got, err)
	}
	for _, text := range []string{"", "two words", "a\nb"} {
		if _, err := station.TokenFile(write(t, "token", []byte(text)))(t.Context()); err == nil || fault.Hint(err) == "" {
			t.Errorf("%q: %v", text, err)
		}
	}
}
