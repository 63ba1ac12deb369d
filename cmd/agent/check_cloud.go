package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/provisioning/dps"
)

func (f *findings) bootstrap(ctx context.Context, c *Config, store keys.Store) {
	if c.Bootstrap.Certificate == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	boot, err := bootstrapCredential(ctx, c, store)
	if err != nil {
		f.add("bootstrap", "", err)
		return
	}
	f.add("bootstrap", describeDates(boot.Leaf), inDate(boot.Leaf))
}

// credentials looks at the shared keys that the configuration names, and says where one is the weaker choice.
func (f *findings) credentials(c *Config) {
	p := c.Provisioning.DPS
	var err error
	switch {
	case c.Hub.SymmetricKey != "":
		_, err = readSymmetricKey("hub.symmetric_key", c.Hub.SymmetricKey)
	case p.Attestation == attestSymmetric:
		_, err = c.dpsKey()
	case !c.tokens():
		return
	default:
		f.add("credential", "tokens made in the TPM: weaker than a certificate, since the cloud knows the key too", nil)
		return
	}
	f.add("credential", "a shared key in a file: the weaker choice, since it can be copied", err)
}

func (f *findings) cloud(ctx context.Context, c *Config, current *identity.Identity) {
	if c.Hub.Host == "" {
		f.server(ctx, c, endpoint{"dps", cmp.Or(c.Provisioning.DPS.Endpoint, dps.Global), c.Provisioning.DPS.Connect, c.Provisioning.DPS.Transport, c.Provisioning.DPS.Roots})
	}
	hub := c.Hub.Host
	if current != nil {
		hub = current.Hub
	}
	if hub != "" {
		f.server(ctx, c, endpoint{"hub", hub, c.Hub.Connect, c.Hub.Transport, c.Hub.Roots})
	}
	f.issuer(ctx, c, issuerEST, c.Provisioning.EST.URL, c.Provisioning.EST.Roots)
	f.issuer(ctx, c, issuerEZCA, c.Provisioning.EZCA.URL, c.Provisioning.EZCA.Roots)
}

// issuer looks at the server of that name where it is asked for certificates. Azure's roots are not meant for it.
func (f *findings) issuer(ctx context.Context, c *Config, name, address, file string) {
	if !c.asks(name) {
		return
	}
	u, err := url.Parse(address)
	roots, bad := readRoots(file)
	if err = errors.Join(err, bad); err != nil {
		f.add(name, "", err)
		return
	}
	e := endpoint{name: name, host: u.Hostname(), transport: transportHTTPS}
	if u.Port() != "" {
		e.connect = u.Host
	}
	f.reach(ctx, c, e, roots)
}

// endpoint is a server of Azure as the configuration has it.
type endpoint struct{ name, host, connect, transport, roots string }

func (e endpoint) address() string {
	switch {
	case e.connect != "":
		return e.connect
	case e.transport == transportWebSocket, e.transport == transportHTTPS:
		return net.JoinHostPort(e.host, "443")
	}
	return net.JoinHostPort(e.host, "8883")
}

// server looks at one of Azure's, and at what its trust stands on.
func (f *findings) server(ctx context.Context, c *Config, e endpoint) {
	roots, err := azureRoots(c, e.roots)
	if err != nil {
		f.add(e.name, "", err)
		return
	}
	state := f.reach(ctx, c, e, roots)
	if state == nil {
		return
	}
	for _, line := range survival(state.VerifiedChains) {
		f.add(e.name+" roots", line, nil)
	}
	f.microsoft(e, roots)
}

// reach does a TLS handshake without a client certificate: it is about the network and about trust. Nil: there was none.
func (f *findings) reach(ctx context.Context, c *Config, e endpoint, roots *x509.CertPool) *tls.ConnectionState {
	state, err := handshake(ctx, c, e, roots)
	if err != nil && e.transport == transportAuto {
		e = e.otherWay(c)
		state, err = handshake(ctx, c, e, roots)
	}
	if err != nil {
		_, port, _ := net.SplitHostPort(e.address())
		f.add(e.name, "", fault.AskOperator(fmt.Errorf("%s at %s: %w", e.host, e.address(), err), "see to network, DNS, firewall (port "+port+"), clock and roots"))
		return nil
	}
	f.add(e.name, fmt.Sprintf("%s at %s, %s", e.host, e.address(), tls.VersionName(state.Version)), nil)
	return state
}

// otherWay is the one that transport auto takes where port 8883 is blocked, as mqtt.Ways has it.
func (e endpoint) otherWay(c *Config) endpoint {
	e.transport = transportWebSocket
	if host, _, err := net.SplitHostPort(e.connect); err == nil {
		e.connect = net.JoinHostPort(host, "443")
	}
	e.connect = cmp.Or(c.Hub.ConnectWebSocket, e.connect)
	return e
}

// handshake goes as far as the server's certificate has been found good. Under TLS 1.2 a server that wants ours then hangs up.
func handshake(ctx context.Context, c *Config, e endpoint, roots *x509.CertPool) (trusted *tls.ConnectionState, err error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	dial := proxied(c, nil)
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	raw, err := dial(ctx, "tcp", e.address())
	if err != nil {
		return nil, err
	}
	defer raw.Close()
	err = tls.Client(raw, &tls.Config{ServerName: e.host, RootCAs: roots, MinVersion: tls.VersionTLS12,
		VerifyConnection: func(s tls.ConnectionState) error { trusted = &s; return nil }}).HandshakeContext(ctx)
	if trusted != nil {
		return trusted, nil
	}
	return nil, err
}

// survival says of each root that the server is trusted through what would become of that trust without it: a root is
// removed one day, by an update of the system or by its owner.
func survival(chains [][]*x509.Certificate) []string {
	var lines []string
	told := map[string]bool{}
	for _, chain := range chains {
		root := chain[len(chain)-1]
		name := root.Subject.CommonName
		if told[name] {
			continue
		}
		told[name] = true
		line := fmt.Sprintf("%q until %s: without it the server would not be trusted", name, root.NotAfter.Local().Format(time.DateOnly))
		if other := without(chains, root); len(other) > 0 {
			line = fmt.Sprintf("%q until %s: without it the server would still be trusted, through %s", name, root.NotAfter.Local().Format(time.DateOnly), strings.Join(other, ", "))
		}
		lines = append(lines, line)
	}
	return lines
}

// without are the roots of the chains that do not need that one.
func without(chains [][]*x509.Certificate, root *x509.Certificate) []string {
	var names []string
	for _, chain := range chains {
		if last := chain[len(chain)-1]; !last.Equal(root) && !bytes.Equal(last.RawSubjectPublicKeyInfo, root.RawSubjectPublicKeyInfo) {
			names = append(names, fmt.Sprintf("%q", last.Subject.CommonName))
		}
	}
	return names
}

// microsoft says which of the roots that Microsoft may move its servers to would not be trusted. Where an endpoint has
// roots of its own, that is on purpose.
func (f *findings) microsoft(e endpoint, roots *x509.CertPool) {
	if e.roots != "" {
		return
	}
	named, err := identity.ParseChain(microsoftRoots)
	if err != nil {
		f.add(e.name+" roots", "", err)
		return
	}
	for _, root := range named {
		if _, err := root.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
			f.add(e.name+" roots", "", fault.AskOperator(errors.Join(fmt.Errorf("%q is not trusted, and Microsoft may move its servers to it", root.Subject.CommonName), err),
				"set trust.microsoft: true, or update ca-certificates"))
		}
	}
}
