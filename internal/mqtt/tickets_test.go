package mqtt

import (
	"crypto"
	"crypto/tls"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// counted is a key that counts what it signs.
type counted struct {
	crypto.Signer
	n atomic.Int32
}

func (c *counted) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	c.n.Add(1)
	return c.Signer.Sign(rand, digest, opts)
}

// inVersions runs story in virtual time with a server of each version of TLS that demands a certificate, and a device
// whose signatures are counted.
func inVersions(t *testing.T, story func(t *testing.T, w *world, key *counted)) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(p *peer) { p.accept(); p.obey() })
				w.server.MaxVersion = version
				w.server.ClientAuth, w.server.ClientCAs = tls.RequireAndVerifyClientCert, w.ca.pool()
				key := &counted{Signer: w.Certificate.PrivateKey.(crypto.Signer)}
				w.Certificate.PrivateKey = key
				w.Sessions = tls.NewLRUClientSessionCache(1)
				story(t, w, key)
			})
		})
	}
}

func TestReconnectCostsNoSignature(t *testing.T) {
	for _, socket := range []bool{false, true} {
		inVersions(t, func(t *testing.T, w *world, key *counted) {
			w.WebSocket = socket
			shown := ""
			w.server.VerifyConnection = func(s tls.ConnectionState) error {
				shown = s.PeerCertificates[0].Subject.CommonName
				return nil
			}
			for i := range 5 {
				shown = ""
				w.dial(t).Close()
				if n := key.n.Load(); n != 1 || shown != "dev" {
					t.Errorf("connection %d: %d signatures so far, the server saw %q", i+1, n, shown)
				}
			}
		})
	}
}

func TestEachConnectionSignsWhereNoSessionsAreKept(t *testing.T) {
	inVersions(t, func(t *testing.T, w *world, key *counted) {
		w.Sessions = nil
		w.dial(t).Close()
		w.dial(t).Close()
		if n := key.n.Load(); n != 2 {
			t.Errorf("%d signatures", n)
		}
	})
}

func TestServerThatForgotItsTicketsGetsAFullHandshake(t *testing.T) {
	inVersions(t, func(t *testing.T, w *world, key *counted) {
		w.dial(t).Close()
		w.server.SetSessionTicketKeys([][32]byte{{1}}) // as after a restart, or behind a balancer
		w.dial(t).Close()
		if n := key.n.Load(); n != 2 {
			t.Errorf("%d signatures", n)
		}
		w.dial(t).Close()
		if n := key.n.Load(); n != 2 {
			t.Errorf("the new ticket is not used: %d signatures", n)
		}
	})
}

func TestServerThatFailsOverATicketIsShownNoneTheNextTime(t *testing.T) {
	inVersions(t, func(t *testing.T, w *world, key *counted) {
		w.dial(t).Close()
		w.server.UnwrapSession = func(ticket []byte, _ tls.ConnectionState) (*tls.SessionState, error) {
			if len(ticket) == 0 {
				return nil, nil
			}
			return nil, errors.New("the store of tickets is down")
		}
		if _, err := Dial(t.Context(), w.Options); err == nil {
			t.Fatal("the server did not fail")
		}
		w.dial(t).Close()
	})
}

func TestIdentityThatIsRefusedOnAResumedSessionSignsTheNextTime(t *testing.T) {
	inVersions(t, func(t *testing.T, w *world, key *counted) {
		w.dial(t).Close()
		refusing := newWorld(t, func(p *peer) { _, _, _ = p.read(); p.send(connack<<4, 2, 0, 5) })
		refusing.server = w.server
		no := w.Options
		no.Dial = refusing.Options.Dial
		if _, err := Dial(t.Context(), no); err == nil {
			t.Fatal("not refused")
		}
		if n := key.n.Load(); n != 1 {
			t.Fatalf("%d signatures", n)
		}
		w.dial(t).Close()
		if n := key.n.Load(); n != 2 {
			t.Errorf("%d signatures", n)
		}
	})
}

func TestNetworkThatIsSilentCostsNoTicket(t *testing.T) {
	inVersions(t, func(t *testing.T, w *world, key *counted) {
		w.dial(t).Close()
		good := w.Options.Dial
		w.Options.Dial = newWorld(t, nil).stuck
		if _, err := Dial(t.Context(), w.Options); err == nil {
			t.Fatal("a session with nobody")
		}
		w.Options.Dial = good
		w.dial(t).Close()
		if n := key.n.Load(); n != 1 {
			t.Errorf("%d signatures", n)
		}
	})
}

func TestPreparedConnectionHoldsNobodyOutUntilItConnects(t *testing.T) {
	inVersions(t, func(t *testing.T, w *world, key *counted) {
		p, err := Prepare(t.Context(), w.Options)
		if err != nil {
			t.Fatal(err)
		}
		if n := key.n.Load(); n != 1 {
			t.Errorf("%d signatures before CONNECT", n)
		}
		<-time.After(10 * time.Second)
		c, err := p.Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(c.Publish("t", []byte("1")).Wait(t.Context()), c.Close()); err != nil {
			t.Error(err)
		}
		if _, err := p.Connect(t.Context()); err == nil {
			t.Error("a second session over one connection")
		}
	})
}

func TestPreparedConnectionThatIsGivenUpIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := make(chan error, 1)
		w := newWorld(t, func(p *peer) {
			kind, _, err := p.read()
			if kind != 0 {
				t.Errorf("packet of type %d", kind)
			}
			gone <- err
		})
		p, err := Prepare(t.Context(), w.Options)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if err := <-gone; err == nil {
			t.Error("the server sees no end")
		}
		if _, err := p.Connect(t.Context()); err == nil {
			t.Error("a session after Close")
		}
	})
}

func TestRefusedCertificateIsNamedByConnectInTLS13(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(p *peer) { _, _, _ = p.read() })
		w.server.ClientAuth, w.server.ClientCAs = tls.RequireAndVerifyClientCert, newAuthority(t, "somebody else").pool()
		p, err := Prepare(t.Context(), w.Options)
		if err == nil {
			_, err = p.Connect(t.Context())
		}
		if refused, ok := errors.AsType[*RefusedError](err); !ok || refused.Alert == 0 {
			t.Errorf("%v", err)
		}
	})
}
