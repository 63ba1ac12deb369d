package mqtt

import (
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

// firewall stands between the device and a server that takes MQTT on both ports.
type firewall struct {
	*Ways
	Options
	ways  map[string]Dialer // what happens to a connection, by port; nil = it is let through
	tried []string          // ports, since the last reach
}

// behindFirewall runs story in virtual time.
func behindFirewall(t *testing.T, serve func(p *peer), story func(t *testing.T, f *firewall)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		bare, socket := newWorld(t, serve), newWorld(t, serve)
		socket.WebSocket = true
		bare.today(t)
		socket.server = bare.server
		f := &firewall{Ways: &Ways{}, Options: bare.Options, ways: map[string]Dialer{}}
		through := map[string]Dialer{"8883": bare.Options.Dial, "443": socket.Options.Dial}
		f.Options.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			_, port, _ := net.SplitHostPort(address)
			f.tried = append(f.tried, port)
			if way := f.ways[port]; way != nil {
				return way(ctx, network, address)
			}
			return through[port](ctx, network, address)
		}
		story(t, f)
	})
}

// reach opens a session, publishes, and returns the ports that were tried.
func (f *firewall) reach(t *testing.T) (tried []string, err error) {
	t.Helper()
	f.tried = nil
	c, err := f.Ways.Dial(t.Context(), f.Options)
	if err == nil {
		err = errors.Join(c.Publish("t", []byte("1")).Wait(t.Context()), c.Close())
	}
	return f.tried, err
}

func (f *firewall) wants(t *testing.T, what string, ports ...string) {
	t.Helper()
	if tried, err := f.reach(t); err != nil || !slices.Equal(tried, ports) {
		t.Errorf("%s: tried %v, want %v: %v", what, tried, ports, err)
	}
}

// How a firewall shuts a port.
var shut = map[string]Dialer{
	"refuses": func(context.Context, string, string) (net.Conn, error) { return nil, syscall.ECONNREFUSED },
	"drops":   func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() },
	"a proxy forbids": func(context.Context, string, string) (net.Conn, error) {
		return nil, fault.AskOperator(errors.New("403 Forbidden"), "have the proxy allow it")
	},
	"cuts the handshake":      answers(""),
	"answers for itself":      answers("HTTP/1.1 403 Forbidden\r\n\r\n"),
	"lets no answers come":    (&world{}).stuck,
	"resets in the handshake": func(context.Context, string, string) (net.Conn, error) { return resetting{}, nil },
}

// answers dials a peer that says text to the first packet and hangs up.
func answers(text string) Dialer {
	return func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		go func() {
			defer there.Close()
			_, _ = there.Read(make([]byte, 16<<10))
			_, _ = io.WriteString(there, text)
		}()
		return here, nil
	}
}

type resetting struct{ net.Conn }

func (resetting) Read([]byte) (int, error) {
	return 0, &net.OpError{Op: "read", Err: syscall.ECONNRESET}
}
func (resetting) Write(p []byte) (int, error)      { return len(p), nil }
func (resetting) Close() error                     { return nil }
func (resetting) SetDeadline(time.Time) error      { return nil }
func (resetting) SetReadDeadline(time.Time) error  { return nil }
func (resetting) SetWriteDeadline(time.Time) error { return nil }

func accepting(p *peer) { p.accept(); p.obey() }

func TestFault42WebSocketIsTakenWherePort8883IsShut(t *testing.T) {
	for name, way := range shut {
		t.Run(name, func(t *testing.T) {
			behindFirewall(t, accepting, func(t *testing.T, f *firewall) {
				f.wants(t, "an open network", "8883")
				f.ways["8883"] = way
				f.wants(t, "8883 is shut", "8883", "443")
				f.wants(t, "what worked comes first", "443")
				delete(f.ways, "8883")
				f.wants(t, "for a day", "443")
				<-time.After(again)
				f.wants(t, "a day later", "8883")
			})
		})
	}
}

func TestPort8883ThatStaysShutIsTriedOnceADay(t *testing.T) {
	behindFirewall(t, accepting, func(t *testing.T, f *firewall) {
		f.ways["8883"] = shut["refuses"]
		f.wants(t, "first", "8883", "443")
		for range 3 {
			<-time.After(again)
			f.wants(t, "a day later", "8883", "443")
			f.wants(t, "then", "443")
		}
	})
}

func TestPort8883IsTriedAgainWhenTheWebSocketFails(t *testing.T) {
	behindFirewall(t, accepting, func(t *testing.T, f *firewall) {
		f.ways["8883"] = shut["refuses"]
		f.wants(t, "8883 is shut", "8883", "443")
		delete(f.ways, "8883")
		f.ways["443"] = shut["drops"]
		f.wants(t, "443 is shut", "443", "8883")
		f.wants(t, "what worked comes first", "8883")
	})
}

func TestServerThatSaysNoIsNotAskedByTheOtherWay(t *testing.T) {
	verdicts := map[string]func(f *firewall) func(err error) bool{
		"CONNACK": func(*firewall) func(error) bool {
			return func(err error) bool { no, ok := errors.AsType[*RefusedError](err); return ok && no.Code == 5 }
		},
		"its certificate": func(f *firewall) func(error) bool {
			f.Roots = nil
			return func(err error) bool {
				return fault.Of(err) == fault.Operator && strings.Contains(fault.Hint(err), "roots")
			}
		},
		"its name does not resolve": func(f *firewall) func(error) bool {
			f.ways["8883"] = func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.DNSError{Err: "no such host", Name: "hub.test"}
			}
			return func(err error) bool { _, ok := errors.AsType[*net.DNSError](err); return ok }
		},
		"our key does not sign": func(f *firewall) func(error) bool {
			f.Certificate.PrivateKey = broken{f.Certificate.PrivateKey.(crypto.Signer)}
			return func(err error) bool { return err != nil }
		},
	}
	for name, prepare := range verdicts {
		behindFirewall(t, func(p *peer) { _, _, _ = p.read(); p.send(connack<<4, 2, 0, 5) }, func(t *testing.T, f *firewall) {
			right := prepare(f)
			if tried, err := f.reach(t); !right(err) || !slices.Equal(tried, []string{"8883"}) {
				t.Errorf("%s: tried %v: %v", name, tried, err)
			}
		})
	}
}

func TestRefusalOverTheSecondWayIsTheAnswer(t *testing.T) {
	behindFirewall(t, func(p *peer) { _, _, _ = p.read(); p.send(connack<<4, 2, 0, 5) }, func(t *testing.T, f *firewall) {
		f.ways["8883"] = shut["refuses"]
		_, err := f.reach(t)
		if no, ok := errors.AsType[*RefusedError](err); !ok || !no.Identity() || fault.Of(err) != fault.Permanent {
			t.Errorf("%v: %v", fault.Of(err), err)
		}
	})
}

func TestErrorOfTwoWaysNamesBothAndKeepsTheRemedy(t *testing.T) {
	behindFirewall(t, accepting, func(t *testing.T, f *firewall) {
		f.ways["8883"], f.ways["443"] = shut["refuses"], shut["a proxy forbids"]
		_, err := f.reach(t)
		if fault.Of(err) != fault.Transient || fault.Hint(err) != "have the proxy allow it" || !strings.Contains(err.Error(), ":8883") || !strings.Contains(err.Error(), ":443") {
			t.Errorf("%v, %q: %v", fault.Of(err), fault.Hint(err), err)
		}
		f.ways["8883"] = shut["a proxy forbids"]
		if _, err := f.reach(t); fault.Of(err) != fault.Operator {
			t.Errorf("%v: %v", fault.Of(err), err)
		}
		f.ways["8883"], f.ways["443"] = shut["drops"], shut["drops"]
		start := time.Now()
		if _, err := f.reach(t); err == nil || time.Since(start) > time.Minute {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

func TestCancelEndsTheSearchForAWay(t *testing.T) {
	behindFirewall(t, accepting, func(t *testing.T, f *firewall) {
		f.ways["8883"] = shut["drops"]
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := f.Ways.Dial(ctx, f.Options); !fault.Stopped(err) || len(f.tried) != 1 {
			t.Errorf("tried %v: %v", f.tried, err)
		}
	})
}

func TestWebSocketIsDialedAtItsOwnAddress(t *testing.T) {
	for address, want := range map[string]string{"": "hub.test:443", "192.0.2.1:18883": "192.0.2.1:443"} {
		_, socket := (&Ways{}).order(Options{Host: "hub.test", Address: address})
		if socket.Address != want || !socket.WebSocket {
			t.Errorf("%q: %s", address, socket.Address)
		}
	}
	if _, socket := (&Ways{WebSocket: "127.0.0.1:4443"}).order(Options{Host: "hub.test", Address: "x:1"}); socket.Address != "127.0.0.1:4443" {
		t.Errorf("%s", socket.Address)
	}
}

// foreign is a connection that notes whether it was found to lead to somebody else.
type foreign struct {
	net.Conn
	distrusted *bool
}

func (f foreign) Distrust() { *f.distrusted = true }

func TestFault40AddressWhereSomebodyElseAnswersIsReportedToTheDialer(t *testing.T) {
	for name, s := range map[string]struct {
		change func(w *world)
		want   bool
	}{
		"the server":   {func(*world) {}, false},
		"another name": {func(w *world) { w.Host = "other.test" }, true},
		"another CA":   {func(w *world) { w.Roots = newAuthority(t, "somebody").pool() }, true},
		"no TLS":       {func(w *world) { w.Dial = answers("220 mail.test ESMTP\r\n") }, true},
		"refuses us": {func(w *world) {
			w.server.ClientAuth, w.server.ClientCAs = tls.RequireAndVerifyClientCert, newAuthority(t, "x").pool()
		}, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, accepting)
			s.change(w)
			dial, distrusted := w.Dial, false
			w.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				c, err := dial(ctx, network, address)
				return foreign{c, &distrusted}, err
			}
			if c, err := Dial(t.Context(), w.Options); err == nil {
				c.Close()
			}
			if distrusted != s.want {
				t.Errorf("%s: distrusted %v", name, distrusted)
			}
		})
	}
}
