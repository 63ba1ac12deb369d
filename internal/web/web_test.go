package web

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

func TestAnswerComesWhole(t *testing.T) {
	inWorld(t, func(w *world) {
		w.serve = answer("HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nlater")
		a, err := w.ask()
		if err != nil || a.Status != 503 || string(a.Body) != "later" || a.Quote() != "later" || a.After(time.Now(), 0) != 7*time.Second || a.Portal() != nil {
			w.Errorf("%+v, %v", a, err)
		}
	})
}

func TestRedirectOnTheSameHostIsFollowedAsTheSameRequestUnlessTheCallerForbidsIt(t *testing.T) {
	there := func(c net.Conn, r *http.Request) {
		if r.URL.Path == "/api" {
			answer("HTTP/1.1 308 Permanent Redirect\r\nLocation: /new\r\nContent-Length: 0\r\n\r\n")(c, r)
			return
		}
		if r.Method != http.MethodPost || r.Header.Get("Authorization") != "Bearer secret" || r.ContentLength != 2 {
			t.Errorf("%s %+v", r.Method, r.Header)
		}
		answer("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")(c, r)
	}
	inWorld(t, func(w *world) {
		w.serve = there
		if a, err := w.ask(); err != nil || a.Status != 201 {
			w.Errorf("%+v, %v", a, err)
		}
		w.config.NoRedirects = true
		if a, err := w.ask(); fault.Of(err) != fault.Permanent {
			w.Errorf("%+v, %v", a, err)
		}
	})
}

func TestConnectionGoesWhereItIsToldAndTheNameStays(t *testing.T) {
	inWorld(t, func(w *world) {
		w.config.Connect, w.config.UserAgent = "192.0.2.7:8443", "devid-agent/1"
		w.serve = func(c net.Conn, r *http.Request) {
			if name := c.(*tls.Conn).ConnectionState().ServerName; r.Host != host || name != host || r.UserAgent() != "devid-agent/1" {
				w.Errorf("host %s, TLS name %s, %s", r.Host, name, r.UserAgent())
			}
			answer("HTTP/1.1 204 No Content\r\n\r\n")(c, r)
		}
		if _, err := w.ask(); err != nil || len(w.dialled) != 1 || w.dialled[0] != "192.0.2.7:8443" {
			w.Errorf("%v, %v", w.dialled, err)
		}
	})
}

func TestProxyOfTheEnvironmentIsNotAsked(t *testing.T) {
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "ALL_PROXY"} {
		t.Setenv(name, "http://127.0.0.1:1")
	}
	w := newWorld(t)
	w.config.Connect = w.listen()
	if _, err := w.ask(); err != nil {
		t.Error(err)
	}
}

func TestOneConnectionServesManyRequestsUntilItIsClosed(t *testing.T) {
	inWorld(t, func(w *world) {
		l := New(w.config)
		for _, want := range []int{1, 1, 2} {
			if want == 2 {
				l.Close()
			}
			r, _ := http.NewRequest(http.MethodGet, "https://"+host+"/", nil)
			if _, err := l.Do(w.Context(), r); err != nil || len(w.dialled) != want {
				w.Errorf("%d dialled, want %d: %v", len(w.dialled), want, err)
			}
		}
		l.Close()
	})
}

func TestCertificateIsPresentedWholeOrAlone(t *testing.T) {
	for _, alone := range []bool{false, true} {
		inWorld(t, func(w *world) {
			mine := w.certificate("device", -time.Hour, time.Hour, w.issuing)
			w.config.Certificate, w.config.LeafOnly = &mine, alone
			w.server.ClientAuth = tls.RequireAnyClientCert
			w.serve = func(c net.Conn, r *http.Request) {
				if n := len(c.(*tls.Conn).ConnectionState().PeerCertificates); n != map[bool]int{false: 2, true: 1}[alone] {
					w.Errorf("leaf alone %v: %d certificates", alone, n)
				}
				answer("HTTP/1.1 204 No Content\r\n\r\n")(c, r)
			}
			if _, err := w.ask(); err != nil {
				w.Error(err)
			}
		})
	}
}

// chip is a key in hardware with its ways.
type chip struct {
	crypto.Signer
	takes time.Duration
	err   error
}

func (c chip) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	time.Sleep(c.takes)
	if c.err != nil {
		return nil, c.err
	}
	return c.Signer.Sign(rand, digest, opts)
}

func TestTimeThatTheHardwareSignsDoesNotCount(t *testing.T) {
	inWorld(t, func(w *world) {
		mine := w.certificate("device", -time.Hour, time.Hour, w.issuing)
		mine.PrivateKey = chip{Signer: w.key, takes: 50 * time.Second}
		w.config.Certificate, w.config.Timeout = &mine, 20*time.Second
		w.server.ClientAuth = tls.RequireAnyClientCert
		w.serve = func(c net.Conn, r *http.Request) {
			time.Sleep(15 * time.Second)
			answer("HTTP/1.1 204 No Content\r\n\r\n")(c, r)
		}
		if _, err := w.ask(); err != nil {
			w.Error(err)
		}
	})
}

func TestHardwareThatDoesNotSignIsNamedWithItsLabel(t *testing.T) {
	locked := fault.AskOperator(errors.New("tpm: locked out"), "wait until 12:00")
	inWorld(t, func(w *world) {
		mine := w.certificate("device", -time.Hour, time.Hour, w.issuing)
		mine.PrivateKey = chip{Signer: w.key, err: locked}
		w.config.Certificate = &mine
		w.server.ClientAuth = tls.RequireAnyClientCert
		if _, err := w.ask(); !errors.Is(err, locked) || fault.Of(err) != fault.Operator || fault.Hint(err) != "wait until 12:00" {
			w.Errorf("%v: %v", fault.Of(err), err)
		}
	})
}

func TestStopIsPrompt(t *testing.T) {
	inWorld(t, func(w *world) {
		w.serve = func(net.Conn, *http.Request) {}
		ctx, cancel := context.WithCancel(w.Context())
		time.AfterFunc(3*time.Second, cancel)
		start := time.Now()
		r, _ := http.NewRequest(http.MethodGet, "https://"+host+"/", nil)
		if _, err := New(w.config).Do(ctx, r); !fault.Stopped(err) || time.Since(start) != 3*time.Second {
			w.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

func TestRetryAfterIsReadAgainstTheServersClock(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 7 * time.Second, "soon": 7 * time.Second, "-5": 7 * time.Second, "0": time.Second, "600": 10 * time.Minute,
		"Thu, 01 Jan 1970 00:05:00 GMT": 5 * time.Minute, "Wed, 31 Dec 1969 23:00:00 GMT": time.Second,
		"99999999999999999999": 7 * time.Second, "4294967295": 4294967295 * time.Second,
	} {
		a := Answer{Header: http.Header{"Retry-After": {text}, "Date": {"Thu, 01 Jan 1970 00:00:00 GMT"}}}
		if got := a.After(now, 7*time.Second); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func TestServersWordsAreQuotedForAPersonAndNotWhole(t *testing.T) {
	a := Answer{Header: http.Header{"Content-Type": {"text/plain"}}, Body: append([]byte("no\r\n\x1b[31m way "), bytes.Repeat([]byte("é"), 1000)...)}
	if q := a.Quote(); len([]rune(q)) != maxQuote+1 || q[:10] != "no [31m wa" {
		t.Errorf("%q", q)
	}
	a = Answer{Header: http.Header{"Content-Type": {"application/octet-stream"}}, Body: []byte{1, 2, 3}}
	if q := a.Quote(); q != "" {
		t.Errorf("%q", q)
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte("no"), "text/plain; charset=utf-8", "120", "")
	f.Add([]byte("{}"), "application/problem+json", "Wed, 31 Dec 1969 23:00:00 GMT", "Thu, 01 Jan 1970 00:00:00 GMT")
	f.Add([]byte(" <html>"), "", "-1", "yesterday")
	f.Fuzz(func(t *testing.T, body []byte, contentType, retry, date string) {
		a := &Answer{Header: http.Header{"Content-Type": {contentType}, "Retry-After": {retry}, "Date": {date}}, Body: body}
		if n := len([]rune(a.Quote())); n > maxQuote+1 {
			t.Errorf("a quote of %d", n)
		}
		if d := a.After(time.Now(), time.Minute); d < time.Second {
			t.Errorf("wait %v", d)
		}
		if a.Page() != (a.Portal() != nil) {
			t.Errorf("a page %v, a portal %v", a.Page(), a.Portal())
		}
	})
}
