package web

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/mtls"
)

// misbehaviour is a server, or what is between it and us, and what is to be said about it.
type misbehaviour struct {
	prepare func(w *world)
	kind    fault.Kind
	words   string // in error or hint
}

func shows(name string, from, to time.Duration) func(w *world) {
	return func(w *world) { w.server.Certificates = []tls.Certificate{w.certificate(name, from, to, w.issuing)} }
}

func says(text string) func(w *world) { return func(w *world) { w.serve = answer(text) } }

// raw is a server that does not speak TLS as it should.
func raw(speak func(c net.Conn)) func(w *world) {
	return func(w *world) {
		w.config.Dial = func(context.Context, string, string) (net.Conn, error) {
			near, far := newPipe(&w.running)
			w.running.Go(func() {
				defer far.Close()
				speak(far)
			})
			return near, nil
		}
	}
}

// hello is a ServerHello of TLS 1.1, as a server sends it that has never heard of the supported_versions extension.
func hello(c net.Conn) {
	c.Read(make([]byte, 16<<10))
	body := append([]byte{3, 2}, make([]byte, 32)...) // version, random
	body = append(body, 0, 0, 0x2f, 0)                // no session, RSA_WITH_AES_128_CBC_SHA, no compression
	message := append([]byte{2, 0, 0, byte(len(body))}, body...)
	c.Write(append([]byte{22, 3, 2, 0, byte(len(message))}, message...))
	io.Copy(io.Discard, c)
}

func plain(c net.Conn) {
	c.Read(make([]byte, 4096))
	io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
}

// endless writes text again and again, after beginning, until the client hangs up.
func endless(beginning, text string, pause time.Duration) func(w *world) {
	return func(w *world) {
		w.serve = func(c net.Conn, _ *http.Request) {
			for _, err := io.WriteString(c, beginning); err == nil; _, err = io.WriteString(c, text) {
				time.Sleep(pause)
			}
		}
	}
}

var misbehaviours = map[string]misbehaviour{
	"expired":                {shows(host, -2*time.Hour, -time.Hour), fault.Operator, "has expired and its owner must renew"},
	"of tomorrow":            {shows(host, 24*time.Hour, 48*time.Hour), fault.Transient, "set the clock"},
	"for another name":       {shows("other.test", -time.Hour, time.Hour), fault.Operator, "x.url names web.test, the server's certificate is for [other.test]"},
	"unknown CA":             {func(w *world) { w.config.Roots = x509.NewCertPool() }, fault.Operator, "put the root of the server's certificate into x.roots"},
	"missing intermediate":   {truncated, fault.Operator, `without the intermediate "CN=Web Issuing"`},
	"TLS 1.1, by alert":      {old, fault.Operator, "no TLS from 1.2 on: it has to be brought up to date (RFC 8996)"},
	"TLS 1.1, by its hello":  {raw(hello), fault.Operator, "no TLS from 1.2 on: it has to be brought up to date (RFC 8996)"},
	"plain HTTP":             {raw(plain), fault.Operator, "does not speak TLS"},
	"hangs up at once":       {raw(func(net.Conn) {}), fault.Transient, "hung up"},
	"hangs up in handshake":  {raw(func(c net.Conn) { c.Read(make([]byte, 100)) }), fault.Transient, "hung up"},
	"hangs in the handshake": {raw(func(c net.Conn) { io.Copy(io.Discard, c) }), fault.Transient, "no answer within 1m0s"},
	"hangs":                  {says(""), fault.Transient, "no answer within 1m0s"},
	"hangs in the middle":    {says("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), fault.Transient, "no answer within 1m0s"},
	"slow drip of the body":  {endless("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", "x", time.Second), fault.Transient, "no answer within 1m0s"},
	"slow drip of a header":  {endless("HTTP/1.1 200 OK\r\nX: ", "x", time.Second), fault.Transient, "no answer within 1m0s"},
	"huge body":              {endless("HTTP/1.1 200 OK\r\n\r\n", strings.Repeat("x", 4096), 0), fault.Permanent, "more than 1048576 bytes"},
	"huge header":            {endless("HTTP/1.1 200 OK\r\nX: ", strings.Repeat("x", 4096), 0), fault.Permanent, "more than 32768 bytes of header"},
	"other protocol":         {says("SSH-2.0-OpenSSH_9.6\r\n"), fault.Transient, "malformed HTTP"},
	"truncated body":         {func(w *world) { w.serve = cut("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf") }, fault.Transient, "hung up in the middle"},
	"redirect to a host":     {redirect("https://evil.test/api"), fault.Operator, "the server sends us to https://evil.test | if that is right, set x.url"},
	"redirect to a port":     {redirect("https://web.test:8443/api"), fault.Operator, "https://web.test:8443"},
	"redirect to plain HTTP": {redirect("http://web.test/api"), fault.Operator, "http://web.test"},
	"redirect for ever":      {redirect("/api"), fault.Permanent, "redirects 5 times"},
	"redirect as GET":        {says("HTTP/1.1 302 Found\r\nLocation: /api\r\nContent-Length: 0\r\n\r\n"), fault.Permanent, "redirects a POST as a GET"},
	"refuses our identity":   {func(w *world) { w.server.ClientAuth = tls.RequireAnyClientCert }, fault.Operator, "tls: certificate required (alert 116) | look after it"},
	"no route":               {unreachable, fault.Transient, "no route to host"},
	"no connection":          {unconnected, fault.Transient, "no connection to web.test:443 within 10s"},
}

func truncated(w *world) {
	w.server.Certificates = []tls.Certificate{w.certificate(host, -time.Hour, time.Hour)}
}

func old(w *world) { w.server.MinVersion, w.server.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }

func cut(text string) func(c net.Conn, _ *http.Request) {
	return func(c net.Conn, _ *http.Request) {
		io.WriteString(c, text)
		c.Close()
	}
}

func redirect(to string) func(w *world) {
	return says("HTTP/1.1 307 Temporary Redirect\r\nLocation: " + to + "\r\nContent-Length: 0\r\n\r\n")
}

func unreachable(w *world) {
	w.config.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no route to host") }
}

func unconnected(w *world) {
	w.config.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
}

func TestServersThatBehaveBadlyAreRefusedInWordsThatNameTheCause(t *testing.T) {
	for name, m := range misbehaviours {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				m.prepare(w)
				start := time.Now()
				a, err := w.ask()
				if err == nil {
					w.Fatalf("an answer: %+v", a)
				}
				text := err.Error() + " | " + fault.Hint(err)
				if fault.Of(err) != m.kind || !strings.Contains(text, m.words) || strings.Contains(text, "secret") {
					w.Errorf("%v: %s", fault.Of(err), text)
				}
				if took := time.Since(start); took > time.Minute+6*time.Second { // crypto/tls may take 5 s to hang up
					w.Errorf("after %v", took)
				}
				for _, address := range w.dialled {
					if address != host+":443" {
						w.Errorf("dialled %s", address)
					}
				}
			})
		})
	}
}

func TestConnectionThatIsResetInTheMiddleIsAMatterOfTime(t *testing.T) {
	w := newWorld(t)
	w.config.Connect = w.listen()
	w.serve = func(c net.Conn, _ *http.Request) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
		tcp := c.(*tls.Conn).NetConn().(*net.TCPConn)
		tcp.SetLinger(0)
		tcp.Close()
	}
	if a, err := w.ask(); err == nil || fault.Of(err) != fault.Transient || !strings.Contains(err.Error(), "hung up in the middle") {
		t.Errorf("%+v, %v: %v", a, fault.Of(err), err)
	}
}

func TestCaptivePortalIsNoAnswerOfTheService(t *testing.T) {
	for _, text := range []string{"Content-Type: text/html; charset=utf-8\r\nContent-Length: 4\r\n\r\nhey!", "Content-Length: 15\r\n\r\n\n<!doctype html"} {
		inWorld(t, func(w *world) {
			w.serve = answer("HTTP/1.1 200 OK\r\n" + text)
			a, err := w.ask()
			if err != nil || !a.Page() || a.Quote() != "(a web page)" {
				w.Fatalf("%+v, %v", a, err)
			}
			if err := a.Portal(); fault.Of(err) != fault.Operator || !strings.Contains(fault.Hint(err), "captive portal") || !strings.Contains(fault.Hint(err), "x.url") {
				w.Errorf("%v: %v | %s", fault.Of(err), err, fault.Hint(err))
			}
		})
	}
}

func TestServerOfTomorrowWaitsForTheClock(t *testing.T) {
	inWorld(t, func(w *world) {
		shows(host, time.Hour, 48*time.Hour)(w)
		if _, err := w.ask(); fault.Of(err) != fault.Transient || !strings.Contains(fault.Hint(err), "set the clock") {
			w.Errorf("%v: %v", fault.Of(err), err)
		}
		time.Sleep(2 * time.Hour)
		if _, err := w.ask(); err != nil {
			w.Errorf("the clock is right now: %v", err)
		}
		time.Sleep(72 * time.Hour)
		if _, err := w.ask(); fault.Of(err) != fault.Operator {
			w.Errorf("%v: %v", fault.Of(err), err)
		}
	})
}

func TestDistrustIsSaidInTheSettingsOfTheCaller(t *testing.T) {
	inWorld(t, func(w *world) {
		w.config.Settings = mtls.Settings{Host: "hub.host", Roots: "hub.roots"}
		w.config.Roots = x509.NewCertPool()
		if _, err := w.ask(); !strings.Contains(fault.Hint(err), "hub.roots") {
			w.Errorf("%v | %s", err, fault.Hint(err))
		}
	})
}

// foreign is a connection that notes whether it was found to lead to somebody else.
type foreign struct {
	net.Conn
	distrusted *bool
}

func (f foreign) Distrust() { *f.distrusted = true }

func TestAddressWhereSomebodyElseAnswersIsReportedToTheDialer(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		want   bool
	}{
		"the server": {func(*Config) {}, false},
		"another CA": {func(c *Config) { c.Roots = x509.NewCertPool() }, true},
	} {
		inWorld(t, func(w *world) {
			c.change(&w.config)
			dial, distrusted := w.config.Dial, false
			w.config.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				raw, err := dial(ctx, network, address)
				return foreign{raw, &distrusted}, err
			}
			if _, err := w.ask(); (err != nil) != c.want || distrusted != c.want {
				w.Errorf("%s: distrusted %v, %v", name, distrusted, err)
			}
		})
	}
}
