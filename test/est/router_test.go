package est

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	globalsign "github.com/globalsign/est"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/provisioning"
	"github.com/devid-agent/devid-agent/provisioning/est"
)

// moody is a CA behind GlobalSign's router.
type moody struct {
	globalsign.CA // nothing else is asked for
	server        *estserver
	refuse        func(n int) error // before a certificate is issued; n counts requests from 1
	requests      atomic.Int64
	attributes    globalsign.CSRAttrs
}

func (m *moody) CACerts(context.Context, string, *http.Request) ([]*x509.Certificate, error) {
	return []*x509.Certificate{m.server.ca.cert, m.server.root.cert}, nil
}

func (m *moody) CSRAttrs(context.Context, string, *http.Request) (globalsign.CSRAttrs, error) {
	return m.attributes, nil
}

func (m *moody) Enroll(_ context.Context, csr *x509.CertificateRequest, _ string, _ *http.Request) (*x509.Certificate, error) {
	if n := m.requests.Add(1); m.refuse != nil {
		if err := m.refuse(int(n)); err != nil {
			return nil, err
		}
	}
	return m.server.ca.certify(&x509.Certificate{RawSubject: csr.RawSubject, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, csr.PublicKey), nil
}

func (m *moody) Reenroll(ctx context.Context, _ *x509.Certificate, csr *x509.CertificateRequest, aps string, r *http.Request) (*x509.Certificate, error) {
	return m.Enroll(ctx, csr, aps, r)
}

// no is an answer as the router wants it.
type no struct {
	error
	status, after int
}

func (n no) StatusCode() int { return n.status }
func (n no) RetryAfter() int { return n.after }

// route serves m on GlobalSign's router.
func (m *moody) route(t *testing.T, change func(*globalsign.ServerConfig)) {
	t.Helper()
	config := &globalsign.ServerConfig{CA: m}
	if change != nil {
		change(config)
	}
	router, err := globalsign.NewRouter(config)
	if err != nil {
		t.Fatal(err)
	}
	m.server = newAuthorities(t)
	key := newKey(t)
	web := m.server.web.certify(&x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, key.Public())
	server := httptest.NewUnstartedServer(router)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{identity.Certificate([]*x509.Certificate{web}, key)}, ClientAuth: tls.RequestClientCert}
	server.StartTLS()
	t.Cleanup(server.Close)
	m.server.url = server.URL
}

func TestItsRefusalsHaveTheirKindAndTheirWait(t *testing.T) {
	for name, want := range map[string]struct {
		no    no
		kind  fault.Kind
		words string
	}{
		"bad request": {no{errors.New("no such template"), 400, 0}, fault.Permanent, "no such template"},
		"forbidden":   {no{errors.New("not this one"), 403, 0}, fault.Operator, "not this one"},
		"deferred":    {no{errors.New("a person looks"), 202, 600}, fault.Transient, "waits for a decision"},
		"throttled":   {no{errors.New("busy"), 429, 30}, fault.Transient, "busy"},
		"unavailable": {no{errors.New("maintenance"), 503, 90}, fault.Transient, "maintenance"},
		"broken":      {no{errors.New("oops"), 500, 0}, fault.Transient, "500"},
	} {
		m := &moody{refuse: func(int) error { return want.no }}
		m.route(t, nil)
		a := newAgent(t, m.server, keys.ECDSAP256)
		_, err := a.issue(device)
		if err == nil || fault.Of(err) != want.kind || fault.RetryAfter(err) != time.Duration(want.no.after)*time.Second || !strings.Contains(err.Error(), want.words) {
			t.Errorf("%s: %v, wait %v: %v", name, fault.Of(err), fault.RetryAfter(err), err)
		}
		if n := m.requests.Load(); n != 1 {
			t.Errorf("%s: %d requests", name, n)
		}
	}
}

func TestItsDeferralEndsWithACertificate(t *testing.T) {
	m := &moody{refuse: func(n int) error {
		if n < 3 {
			return no{errors.New("a person looks"), 202, 1}
		}
		return nil
	}}
	m.route(t, nil)
	a := newAgent(t, m.server, keys.ECDSAP256)
	a.inForce(a.issue(device))
	if n := m.requests.Load(); n != 3 {
		t.Errorf("%d requests", n)
	}
}

func TestItsUsersEnrollByPasswordAndRenewByCertificate(t *testing.T) {
	m := &moody{}
	m.route(t, func(c *globalsign.ServerConfig) {
		c.CheckBasicAuth = func(_ context.Context, r *http.Request, _, user, password string) error {
			if len(r.TLS.PeerCertificates) == 0 && (user != "line-3" || password != "s3cret") {
				return errors.New("who?")
			}
			return nil
		}
	})
	a := newAgent(t, m.server, keys.ECDSAP256)
	a.config.Bootstrap = nil
	a.config.Username, a.config.Password = "line-3", func() (string, error) { return "wrong", nil }
	if _, err := a.issue(device); fault.Of(err) != fault.Operator || !strings.Contains(fault.Hint(err), "line-3") {
		t.Errorf("%v: %v | %s", fault.Of(err), err, fault.Hint(err))
	}
	a.config.Password = func() (string, error) { return "s3cret", nil }
	a.inForce(a.issue(device))
	a.config.Username, a.config.Password = "", nil
	a.inForce(a.issue(device))
}

func TestItsRequestLimitAndLabelAreUnderstood(t *testing.T) {
	m := &moody{}
	m.route(t, func(c *globalsign.ServerConfig) { c.RateLimit = 1 })
	a := newAgent(t, m.server, keys.ECDSAP256)
	a.config.Label = "plant-7"
	_, err := est.New(a.config).Issue(t.Context(), provisioning.Request{DeviceID: device, Key: a.key})
	if fault.Of(err) != fault.Transient || err == nil || !strings.Contains(err.Error(), "429") {
		t.Errorf("%v: %v", fault.Of(err), err)
	}
}
