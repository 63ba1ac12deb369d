package station_test

import (
	"context"
	"crypto/x509"
	"strings"
	"testing"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/sim"
	"github.com/devid-agent/devid-agent/station"
)

const person = "11111111-2222-3333-4444-555555555555"

// asStation is EZCA for the application of the station.
func (c *cloud) asStation() *station.EZCA { return c.ezca(c.token()) }

// token is that of the application of the station, whose secret is in the environment.
func (c *cloud) token() station.Token {
	c.t.Helper()
	app := c.Entra().App
	c.t.Setenv("AZURE_TENANT_ID", c.Entra().Tenant)
	c.t.Setenv("AZURE_CLIENT_ID", app.ClientID)
	c.t.Setenv("AZURE_CLIENT_SECRET", app.Secret)
	token, err := c.entra(app.ClientID).FromEnvironment()
	if err != nil {
		c.t.Fatal(err)
	}
	return token
}

func (c *cloud) register(e *station.EZCA, name string) error {
	_, err := e.Register(c.t.Context(), station.DomainRequest{CA: c.ca(), Domain: name,
		Owners:     []station.Person{{ObjectID: person, Name: "Ada", Type: "User", Valid: true}},
		Requesters: []station.Person{{ObjectID: c.Entra().App.ObjectID, Type: "Application", Valid: true}}})
	return err
}

func TestNameIsRegisteredAndItsCertificateRequestedListedAndRevoked(t *testing.T) {
	c := newCloud(t, sim.Temper{})
	e := c.asStation()
	if all, err := e.CAs(t.Context()); err != nil || len(all) != 1 || all[0].CAID != c.ca().ID || all[0].MaxDays == 0 {
		t.Fatalf("%+v, %v", all, err)
	}
	r := request(t, newKey(t), named("gw-1"))
	if _, err := e.Request(t.Context(), c.ca(), r, 30); err == nil || !strings.Contains(err.Error(), "not registered") || fault.Hint(err) == "" {
		t.Errorf("before its registration: %v", err)
	}
	if err := c.register(e, "gw-1"); err != nil {
		t.Fatal(err)
	}
	if err := c.register(e, "gw-1"); err == nil || !strings.Contains(err.Error(), "registered already") {
		t.Errorf("a second registration: %v", err)
	}
	if all, err := e.Domains(t.Context()); err != nil || len(all) != 1 || all[0].Domain != "gw-1" || all[0].Owners[0].ObjectID != person {
		t.Errorf("%+v, %v", all, err)
	}
	chain, err := e.Request(t.Context(), c.ca(), r, 30)
	if err != nil {
		t.Fatal(err)
	}
	list, err := e.List(t.Context())
	if err != nil || len(list) != 1 || list[0].Thumbprint != station.EZCAThumbprint(chain[0]) || list[0].Expires == "" {
		t.Fatalf("%+v, %v", list, err)
	}
	if _, err := e.Revoke(t.Context(), c.ca(), list[0].Thumbprint); err != nil {
		t.Error(err)
	}
	if _, err := e.Revoke(t.Context(), c.ca(), list[0].Thumbprint); err == nil || !strings.Contains(err.Error(), "revoked already") {
		t.Errorf("a second revocation: %v", err)
	}
}

func TestOrderAtEZCARegistersTheNamesThatAreNew(t *testing.T) {
	c := newCloud(t, sim.Temper{})
	s := station.EZCASigner{EZCA: c.asStation(), CA: c.ca(), Days: 30, Owners: []station.Person{{ObjectID: person}},
		Requesters: []station.Person{{ObjectID: c.Entra().App.ObjectID}}}
	for range 2 {
		if _, err := s.Sign(t.Context(), request(t, newKey(t), named("gw-1")), ""); err != nil {
			t.Error(err)
		}
	}
	s.Requesters[0].ObjectID = person
	if _, err := s.Sign(t.Context(), request(t, newKey(t), named("gw-2")), ""); err == nil || !strings.Contains(err.Error(), "no requester") {
		t.Errorf("without the right to request: %v", err)
	}
}

func TestApplicationCannotOwnAName(t *testing.T) {
	c := newCloud(t, sim.Temper{})
	e := c.asStation()
	_, err := e.Register(t.Context(), station.DomainRequest{CA: c.ca(), Domain: "gw-1",
		Owners: []station.Person{{ObjectID: c.Entra().App.ObjectID}}, Requesters: []station.Person{{ObjectID: c.Entra().App.ObjectID}}})
	if err == nil || !strings.Contains(err.Error(), "owners must be users or groups") {
		t.Error(err)
	}
	if _, err := e.Register(t.Context(), station.DomainRequest{CA: c.ca(), Domain: "gw-1"}); err == nil || !strings.Contains(fault.Hint(err), "--owner") {
		t.Errorf("without owners: %v", err)
	}
}

func TestEveryShapeOfAnswerIsReadOrRefused(t *testing.T) {
	for name, s := range map[string]struct {
		answer sim.EZCAAnswer
		words  string // of the refusal; "" where the answer is good
	}{
		"no root": {sim.EZCANoRoot, ""}, "empty root": {sim.EZCAEmptyRoot, ""}, "JSON in a string": {sim.EZCADouble, ""},
		"no armour": {sim.EZCANoArmour, ""}, "CR LF": {sim.EZCACRLF, ""},
		"page": {sim.EZCAPage, "a web page"}, "error in words": {sim.EZCAError, "refused: "}, "failure": {sim.EZCAFailure, "refused: "},
		"wrong key": {sim.EZCAWrongKey, "for another key"}, "wrong subject": {sim.EZCAWrongSubject, "the certificate is for"},
		"expired": {sim.EZCAExpired, "valid from"}, "future": {sim.EZCAFuture, "valid from"},
		"empty": {sim.EZCAEmpty, "not JSON"}, "rubbish": {sim.EZCARubbish, "ezca"}, "huge": {sim.EZCAHuge, "more than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCloud(t, sim.Temper{EZCA: sim.EZCATemper{Answer: s.answer}})
			e := c.ezca(func(context.Context) (string, error) { return c.EZCAToken(), nil })
			r := request(t, newKey(t), named("gw-1"))
			chain, err := e.Request(t.Context(), c.ca(), r, 30)
			if s.words != "" {
				if err == nil || !strings.Contains(err.Error(), s.words) {
					t.Errorf("want %q: %v", s.words, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			roots := x509.NewCertPool()
			roots.AddCert(c.EZCARoots()[0])
			between := x509.NewCertPool()
			for _, x := range chain[1:] {
				between.AddCert(x)
			}
			if _, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestBusyEZCAIsAskedAgainAndNotForEver(t *testing.T) {
	c := newCloud(t, sim.Temper{EZCA: sim.EZCATemper{Status: 503, StatusTimes: 2}})
	e := c.ezca(func(context.Context) (string, error) { return c.EZCAToken(), nil })
	r := request(t, newKey(t), named("gw-1"))
	if _, err := e.Request(t.Context(), c.ca(), r, 30); err != nil {
		t.Error(err)
	}
	c.SetTemper(sim.Temper{EZCA: sim.EZCATemper{Status: 503}})
	before := c.EZCACount("gw-1").Requested
	if _, err := e.Request(t.Context(), c.ca(), r, 30); err == nil || fault.Of(err) != fault.Transient {
		t.Errorf("a busy EZCA: %v", err)
	}
	if tries := c.EZCACount("gw-1").Requested - before; tries != 4 {
		t.Errorf("EZCA was asked %d times", tries)
	}
}

func TestRefusalIsNotRepeated(t *testing.T) {
	c := newCloud(t, sim.Temper{})
	e := c.asStation()
	if _, err := e.Request(t.Context(), c.ca(), request(t, newKey(t), named("gw-1")), 30); err == nil {
		t.Error("a name that is not registered got a certificate")
	}
	if n := c.EZCACount("gw-1").Requested; n != 1 {
		t.Errorf("EZCA was asked %d times", n)
	}
}
