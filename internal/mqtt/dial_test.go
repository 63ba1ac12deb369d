package mqtt

import (
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

func TestReturnCodesAreRefusalsOfTheirKind(t *testing.T) {
	kinds := map[byte]fault.Kind{1: fault.Permanent, 2: fault.Permanent, 3: fault.Transient, 4: fault.Permanent, 5: fault.Permanent}
	for code, kind := range kinds {
		synctest.Test(t, func(t *testing.T) {
			tries := 0
			w := newWorld(t, func(p *peer) {
				tries++
				_, _, _ = p.read()
				p.send(connack<<4, 2, 0, code)
			})
			_, err := Dial(t.Context(), w.Options)
			refused, ok := errors.AsType[*RefusedError](err)
			if !ok || refused.Code != code || fault.Of(err) != kind || tries != 1 {
				t.Errorf("CONNACK %d: %v, %v after %d tries", code, fault.Of(err), err, tries)
			}
			if refused.Identity() != (code == 2 || code == 4 || code == 5) {
				t.Errorf("CONNACK %d: Identity = %v", code, refused.Identity())
			}
		})
	}
}

// listen serves w's server on TCP, where a refused client's writes may meet a connection that is gone.
func (w *world) listen(t *testing.T, serve func(p net.Conn)) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", w.server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); serve(c) }()
		}
	}()
	w.Options.Dial, w.Address = nil, l.Addr().String()
}

func TestRefusedCertificateIsNamedInEveryVersionOfTLS(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		w := newWorld(t, nil)
		w.server.MaxVersion = version
		w.server.ClientAuth = tls.RequireAndVerifyClientCert
		w.server.ClientCAs = newAuthority(t, "somebody else").pool()
		w.listen(t, func(c net.Conn) { _ = c.(*tls.Conn).Handshake() })
		for range 20 {
			_, err := Dial(t.Context(), w.Options)
			refused, ok := errors.AsType[*RefusedError](err)
			if !ok || refused.Alert == 0 || !refused.Identity() || fault.Of(err) != fault.Permanent {
				t.Fatalf("%s: %v, %v", tls.VersionName(version), fault.Of(err), err)
			}
		}
	}
}

// hurried is a connection whose writes fail from the third on, as they do once the server has hung up: the first two
// are our side of the TLS 1.3 handshake.
type hurried struct {
	net.Conn
	writes int
}

func (h *hurried) Write(p []byte) (int, error) {
	if h.writes++; h.writes > 2 {
		return 0, &net.OpError{Op: "write", Err: syscall.EPIPE}
	}
	return h.Conn.Write(p)
}

func TestRefusedCertificateIsNamedWhenTheServerHungUpBeforeConnect(t *testing.T) {
	w := newWorld(t, nil)
	w.server.ClientAuth = tls.RequireAndVerifyClientCert
	w.server.ClientCAs = newAuthority(t, "somebody else").pool()
	w.listen(t, func(c net.Conn) { _ = c.(*tls.Conn).Handshake() })
	w.Options.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, address)
		return &hurried{Conn: c}, err
	}
	_, err := Dial(t.Context(), w.Options)
	if refused, ok := errors.AsType[*RefusedError](err); !ok || refused.Alert == 0 {
		t.Errorf("%v", err)
	}
}

func TestCertificateIsPresentedWhateverTheServerAsksFor(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		w := newWorld(t, nil)
		w.server.MaxVersion = version
		w.server.ClientAuth = tls.RequireAnyClientCert
		w.server.ClientCAs = newAuthority(t, "somebody else").pool() // the list that the client is shown
		seen, names := make(chan int, 1), make(chan string, 1)
		w.listen(t, func(c net.Conn) {
			if err := c.(*tls.Conn).Handshake(); err == nil {
				state := c.(*tls.Conn).ConnectionState()
				seen <- len(state.PeerCertificates)
				names <- state.ServerName
			}
		})
		_, _ = Dial(t.Context(), w.Options)
		select {
		case n := <-seen:
			if n != 2 {
				t.Errorf("%s: %d certificates presented, want leaf and issuer", tls.VersionName(version), n)
			}
			if name := <-names; name != "hub.test" {
				t.Errorf("SNI = %q", name)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s: no certificate presented", tls.VersionName(version))
		}
	}
}

func TestUntrustedServerAsksTheOperator(t *testing.T) {
	w := newWorld(t, func(p *peer) { p.accept() })
	w.Roots = newAuthority(t, "somebody else").pool()
	if _, err := Dial(t.Context(), w.Options); fault.Of(err) != fault.Operator || !strings.Contains(fault.Hint(err), "roots") {
		t.Errorf("foreign root: %v %q: %v", fault.Of(err), fault.Hint(err), err)
	}
	w = newWorld(t, func(p *peer) { p.accept() })
	w.Host = "other.test"
	if _, err := Dial(t.Context(), w.Options); fault.Of(err) != fault.Operator {
		t.Errorf("foreign name: %v", err)
	}
	w = newWorld(t, func(p *peer) { p.accept() })
	w.server.Certificates = []tls.Certificate{w.ca.issue(t, "hub.test", time.Now().Add(-48*time.Hour))}
	if _, err := Dial(t.Context(), w.Options); fault.Of(err) != fault.Operator || !strings.Contains(fault.Hint(err), "expired") {
		t.Errorf("expired server: %v %q", fault.Of(err), fault.Hint(err))
	}
}

func TestClockThatIsBehindIsCalledAClockAndHealsWithTime(t *testing.T) {
	w := newWorld(t, func(p *peer) { p.accept() })
	w.server.Certificates = []tls.Certificate{w.ca.issue(t, "hub.test", time.Now().Add(time.Hour))}
	_, err := Dial(t.Context(), w.Options)
	if fault.Of(err) != fault.Transient || !strings.Contains(fault.Hint(err), "set the clock") {
		t.Errorf("%v %q: %v", fault.Of(err), fault.Hint(err), err)
	}
}

// broken is a key whose hardware does not sign.
type broken struct{ crypto.Signer }

func (broken) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, fault.AskOperator(errors.New("tpm: in lockout"), "wait, or reset the lockout")
}

func TestSignerThatFailsKeepsItsLabel(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		w := newWorld(t, func(p *peer) { p.accept() })
		w.server.MaxVersion = version
		w.Certificate.PrivateKey = broken{w.Certificate.PrivateKey.(crypto.Signer)}
		if _, err := Dial(t.Context(), w.Options); fault.Of(err) != fault.Operator || fault.Hint(err) == "" {
			t.Errorf("%s: %v: %v", tls.VersionName(version), fault.Of(err), err)
		}
	}
}

func TestCancelEndsDialInEveryPhase(t *testing.T) {
	stuck := map[string]func(w *world){
		"dial": func(w *world) {
			w.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
		},
		"handshake": func(w *world) {
			w.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
				here, there := net.Pipe()
				context.AfterFunc(ctx, func() { time.AfterFunc(time.Second, func() { there.Close() }) })
				return here, nil
			}
		},
		"CONNACK": func(*world) {},
	}
	for phase, hold := range stuck {
		t.Run(phase, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(p *peer) { _, _, _ = p.read(); _, _, _ = p.read() })
				hold(w)
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(3*time.Second, cancel)
				start := time.Now()
				_, err := Dial(ctx, w.Options)
				if !fault.Stopped(err) || time.Since(start) > 4*time.Second {
					t.Errorf("after %v: %v", time.Since(start), err)
				}
				start = time.Now()
				if _, err = Dial(t.Context(), w.Options); err == nil || fault.Stopped(err) || fault.Of(err) != fault.Transient {
					t.Errorf("without cancel: %v", err)
				}
				if took := time.Since(start); took > 61*time.Second {
					t.Errorf("a server that hangs holds Dial for %v", took)
				}
			})
		})
	}
}

func TestRefusedConnectionIsTransient(t *testing.T) {
	w := newWorld(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	w.Options.Dial, w.Address = nil, l.Addr().String()
	if _, err := Dial(t.Context(), w.Options); fault.Of(err) != fault.Transient || err == nil {
		t.Errorf("%v: %v", fault.Of(err), err)
	}
}
