package mqtt

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/devid-agent/devid-agent/fault"
)

func TestHTTPAnswerThatIsNoWebSocketIsSaidInWords(t *testing.T) {
	page := "Content-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"
	for name, s := range map[string]struct {
		answer string
		kind   fault.Kind
		after  time.Duration
		words  string
	}{
		"captive portal":  {"HTTP/1.1 200 OK\r\n" + page, fault.Operator, 0, "web page"},
		"redirect":        {"HTTP/1.1 302 Found\r\nLocation: https://login.test/\r\nContent-Length: 0\r\n\r\n", fault.Operator, 0, "captive portal"},
		"forbidden":       {"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", fault.Operator, 0, "IP filter"},
		"not there":       {"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", fault.Operator, 0, "/$iothub/websocket"},
		"busy":            {"HTTP/1.1 503 Busy\r\nRetry-After: 40\r\nContent-Length: 0\r\n\r\n", fault.Transient, 40 * time.Second, "503"},
		"throttled":       {"HTTP/1.1 429 Slow\r\nRetry-After: x\r\nContent-Length: 0\r\n\r\n", fault.Transient, 0, "429"},
		"wrong proof":     {"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n", fault.Operator, 0, "101"},
		"endless":         {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", maxUpgrade), fault.Transient, 0, "more than 65536 bytes"},
		"not even HTTP":   {"\x10\x02\r\n\r\n", fault.Transient, 0, "malformed HTTP"},
		"nothing at all":  {"", fault.Transient, 0, "EOF"},
		"half and silent": {"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n", fault.Operator, 0, "no WebSocket"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil)
			w.WebSocket, w.Password = true, "s3cret"
			w.Dial = func(context.Context, string, string) (net.Conn, error) {
				here, there := net.Pipe()
				go func() {
					secure := tls.Server(there, w.server)
					defer secure.Close()
					if _, err := http.ReadRequest(bufio.NewReader(secure)); err == nil {
						_, _ = io.WriteString(secure, s.answer)
					}
				}()
				return here, nil
			}
			_, err := Dial(t.Context(), w.Options)
			if err == nil {
				t.Fatal("a session")
			}
			text := err.Error() + " | " + fault.Hint(err)
			if fault.Of(err) != s.kind || fault.RetryAfter(err) != s.after || !strings.Contains(text, s.words) {
				t.Errorf("%s: %v, %v: %s", name, fault.Of(err), fault.RetryAfter(err), text)
			}
			if strings.Contains(text, "s3cret") {
				t.Errorf("%s: the password is in %s", name, text)
			}
		})
	}
}

func TestWebSocketOfAnotherProtocolIsNotMQTT(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.Dial = func(context.Context, string, string) (net.Conn, error) {
			here, there := net.Pipe()
			go func() {
				secure := tls.Server(there, w.server)
				defer secure.Close()
				in := bufio.NewReader(secure)
				if r, err := http.ReadRequest(in); err == nil {
					_, _ = (&websocket.Upgrader{}).Upgrade(&taken{conn: secure, in: in}, r, nil)
				}
			}()
			return here, nil
		}
		w.WebSocket = true
		if _, err := Dial(t.Context(), w.Options); fault.Of(err) != fault.Permanent || !strings.Contains(err.Error(), "not for MQTT") {
			t.Errorf("%v: %v", fault.Of(err), err)
		}
	})
}

func TestRefusedCertificateIsNamedBeforeTheWebSocketOpens(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, late := range []bool{false, true} {
			w := newWorld(t, nil)
			w.WebSocket = true
			w.server.MaxVersion = version
			w.server.ClientAuth = tls.RequireAndVerifyClientCert
			w.server.ClientCAs = newAuthority(t, "somebody else").pool()
			w.listen(t, func(c net.Conn) { _ = c.(*tls.Conn).Handshake() })
			if late {
				w.Options.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
					c, err := (&net.Dialer{}).DialContext(ctx, network, address)
					return &hurried{Conn: c}, err
				}
			}
			_, err := Dial(t.Context(), w.Options)
			if refused, ok := errors.AsType[*RefusedError](err); !ok || refused.Alert == 0 || fault.Of(err) != fault.Permanent {
				t.Errorf("%s: %v, %v", tls.VersionName(version), fault.Of(err), err)
			}
		}
	}
}

func TestCancelAndPatienceEndTheWaitForAWebSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.Dial = func(context.Context, string, string) (net.Conn, error) {
			here, there := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, tls.Server(there, w.server)) }()
			return here, nil
		}
		w.WebSocket = true
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(3*time.Second, cancel)
		start := time.Now()
		if _, err := Dial(ctx, w.Options); !fault.Stopped(err) || time.Since(start) > 4*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		start = time.Now()
		if _, err := Dial(t.Context(), w.Options); fault.Of(err) != fault.Transient || fault.Stopped(err) || time.Since(start) > 61*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

// FuzzUpgrade lets a server answer anything to the request for a WebSocket: nothing panics, and no wait is endless.
func FuzzUpgrade(f *testing.F) {
	f.Add([]byte("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n\x82\x04\x20\x02\x00\x00"))
	f.Add([]byte("HTTP/1.1 503 Busy\r\nRetry-After: 99999999999\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n"))
	f.Fuzz(func(t *testing.T, said []byte) {
		here, there := net.Pipe()
		go func() {
			defer there.Close()
			if _, err := http.ReadRequest(bufio.NewReader(there)); err == nil {
				_, _ = there.Write(said)
			}
		}()
		_, err := Options{Host: "h"}.upgrade(here)
		if wait := fault.RetryAfter(err); wait < 0 || wait > longest {
			t.Errorf("a wait of %v", wait)
		}
		here.Close()
	})
}
