// Package proxy is an HTTP proxy as a dialer: a tunnel by CONNECT (RFC 9110, 9.3.6) to whatever the other rooms dial.
package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

// Dial opens a connection, like (*net.Dialer).DialContext.
type Dial = func(ctx context.Context, network, address string) (net.Conn, error)

// patience is how long the proxy may take, with all that it does to reach the other side. Squid gives up after a minute.
const patience = 70 * time.Second

// Check says why u is not the address of a proxy, or nil.
func Check(u *url.URL) error {
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("a proxy is http://HOST:PORT or https://HOST:PORT, not %q", u.Redacted())
	case u.Hostname() == "":
		return fmt.Errorf("proxy %q: there is no host in it", u.Redacted())
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("proxy %q: nothing may follow the port", u.Redacted())
	case u.User != nil && strings.Contains(u.User.Username(), ":"):
		return fmt.Errorf("proxy %q: the name of a user has no colon (RFC 7617, section 2)", u.Redacted())
	}
	return nil
}

// Dialer reaches every address through proxy, which Check accepts. Without a port it is 80 or, for https, 443. The
// certificate of an https proxy must come from the system's roots. Where the URL has a user, password is asked for each
// connection; nil is the password in the URL. The proxy itself is reached by dial; nil = TCP. Names are for the proxy
// to resolve: the device needs no DNS for them. What the proxy says no with is an error with its remedy.
func Dialer(proxy *url.URL, password func() (string, error), dial Dial) Dial {
	t := &tunnels{proxy: proxy, password: password, dial: dial}
	if t.dial == nil {
		t.dial = (&net.Dialer{KeepAlive: -1}).DialContext // the protocols in the tunnel have pings of their own
	}
	if t.password == nil {
		t.password = func() (string, error) { p, _ := proxy.User.Password(); return p, nil }
	}
	return t.open
}

type tunnels struct {
	proxy    *url.URL
	password func() (string, error)
	dial     Dial
	roots    *x509.CertPool // of an https proxy; nil = the system's
}

// open returns a connection to address.
func (t *tunnels) open(ctx context.Context, _, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no tunnel within %v", patience))
	defer cancel()
	request, err := t.request(address)
	if err != nil {
		return nil, err
	}
	conn, err := t.reach(ctx)
	if err != nil {
		return nil, t.unreachable(because(ctx, err))
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	err = t.connect(conn, address, request)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, fault.As(fault.Of(err), fmt.Errorf("tunnel to %s through the proxy %s: %w", address, t.proxy.Host, because(ctx, err)))
	}
	return conn, nil
}

// because prefers the reason why ctx ended to the error that its end caused.
func because(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return context.Cause(ctx)
}

// reach connects to the proxy itself.
func (t *tunnels) reach(ctx context.Context) (net.Conn, error) {
	port := t.proxy.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[t.proxy.Scheme]
	}
	raw, err := t.dial(ctx, "tcp", net.JoinHostPort(t.proxy.Hostname(), port))
	if err != nil || t.proxy.Scheme != "https" {
		return raw, err
	}
	secure := tls.Client(raw, &tls.Config{
		ServerName: t.proxy.Hostname(), RootCAs: t.roots, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
	})
	if err := secure.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, err
	}
	return hasty{secure, raw}, nil
}

// hasty is closed without TLS's goodbye, which may block for seconds.
type hasty struct {
	net.Conn
	raw net.Conn
}

func (h hasty) Close() error { return h.raw.Close() }

// NetConn is the connection below TLS, as that of a tls.Conn: options of the socket can be set.
func (h hasty) NetConn() net.Conn { return h.raw }

// request is the CONNECT and all its header.
func (t *tunnels) request(address string) (string, error) {
	if _, _, err := net.SplitHostPort(address); err != nil || strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fault.As(fault.Permanent, fmt.Errorf("%q is no host and port to connect to", address))
	}
	text := "CONNECT " + address + " HTTP/1.1\r\nHost: " + address + "\r\n"
	if t.proxy.User == nil {
		return text + "\r\n", nil
	}
	password, err := t.password()
	if err != nil {
		return "", fmt.Errorf("password for the proxy %s: %w", t.proxy.Host, err)
	}
	// RFC 7617, section 2.
	pair := base64.StdEncoding.EncodeToString([]byte(t.proxy.User.Username() + ":" + password))
	return text + "Proxy-Authorization: Basic " + pair + "\r\n\r\n", nil
}

// connect asks for the tunnel over conn and returns nil once it is open.
func (t *tunnels) connect(conn net.Conn, address, request string) error {
	_, writing := conn.Write([]byte(request))
	header, err := readHeader(conn) // also when writing went wrong: the proxy may have said why and hung up
	if err != nil {
		return t.silent(header, errors.Join(err, writing))
	}
	return t.judge(address, header)
}
