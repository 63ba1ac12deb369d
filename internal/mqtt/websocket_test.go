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
)

// accept is conn as MQTT finds it: as it is, or the WebSocket that the client asks for in it; nil where it asks wrongly.
func (w *world) accept(conn net.Conn) net.Conn {
	if !w.WebSocket {
		return conn
	}
	in := bufio.NewReader(conn)
	r, err := http.ReadRequest(in)
	if err != nil || r.URL.Path != "/$iothub/websocket" || r.Host != w.Host || r.Header.Get("Sec-WebSocket-Protocol") != "mqtt" {
		return nil
	}
	upgrader := websocket.Upgrader{Subprotocols: []string{"mqtt"}}
	socket, err := upgrader.Upgrade(&taken{conn: conn, in: in}, r, nil)
	if err != nil {
		return nil
	}
	return &served{Conn: socket}
}

// taken is a connection that an http.Handler may take over.
type taken struct {
	http.ResponseWriter
	conn net.Conn
	in   *bufio.Reader
}

func (t *taken) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return t.conn, bufio.NewReadWriter(t.in, bufio.NewWriter(t.conn)), nil
}

// inSocket runs story over WebSocket, in virtual time.
func inSocket(t *testing.T, serve func(p *peer), story func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, serve)
		w.WebSocket = true
		story(t, w)
	})
}

func TestWebSocketCarriesMessagesBothWays(t *testing.T) {
	big := strings.Repeat("x", 200<<10) // more than any frame
	inSocket(t, func(p *peer) {
		p.accept()
		// The borders of frames mean nothing: a packet in three of them, then two packets in one.
		for _, part := range [][]byte{{publish << 4, 4, 0}, {1, 'a'}, {'1', publish << 4, 4, 0, 1, 'b', '2', publish << 4, 4, 0, 1, 'c', '3'}} {
			p.send(part...)
		}
		p.obey()
	}, func(t *testing.T, w *world) {
		got := make(chan string, 3)
		w.Receive = func(topic string, payload []byte, ack func()) { ack(); got <- topic + string(payload) }
		c := w.dial(t)
		for _, want := range []string{"a1", "b2", "c3"} {
			if m := <-got; m != want {
				t.Errorf("received %q", m)
			}
		}
		for _, body := range []string{"small", big} {
			if err := c.Publish("t", []byte(body)).Wait(t.Context()); err != nil {
				t.Errorf("%d bytes: %v", len(body), err)
			}
		}
		if err := c.Subscribe(t.Context(), "f"); err != nil {
			t.Error(err)
		}
		<-time.After(10 * time.Minute) // ten pings
		if c.Err() != nil {
			t.Errorf("%v", c.Err())
		}
		c.Close()
	})
}

func TestEachPacketIsAMessageOfItsOwn(t *testing.T) {
	inSocket(t, func(p *peer) {
		p.accept()
		socket := p.Conn.(*served).Conn
		for range 20 {
			_, message, err := socket.ReadMessage()
			if err != nil {
				return
			}
			if message[0]>>4 == publish && leading(message) != len(message) || len(message) > 1<<10 {
				t.Errorf("a message of %d bytes, its first packet of %d", len(message), leading(message))
			}
		}
	}, func(t *testing.T, w *world) {
		c := w.dial(t)
		for range 20 {
			c.Publish("t", make([]byte, 1000))
		}
		<-c.Done() // the server has read them all
		c.Close()
	})
}

func TestWebSocketPingIsAnsweredAndItsCloseEndsTheSession(t *testing.T) {
	for name, end := range map[string]func(socket *websocket.Conn){
		"close": func(s *websocket.Conn) {
			_ = s.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1001, "restart"), time.Now().Add(time.Second))
		},
		"text frame": func(s *websocket.Conn) { _ = s.WriteMessage(websocket.TextMessage, []byte{pingresp << 4, 0}) },
		"nonsense":   func(s *websocket.Conn) { _ = s.WriteMessage(websocket.BinaryMessage, []byte{suback << 4, 3, 0, 9, 1}) },
		"hang up":    func(s *websocket.Conn) { s.Close() },
	} {
		ponged := false
		inSocket(t, func(p *peer) {
			p.accept()
			socket := p.Conn.(*served).Conn
			socket.SetPongHandler(func(data string) error {
				ponged = data == "there?"
				end(socket)
				return nil
			})
			_ = socket.WriteControl(websocket.PingMessage, []byte("there?"), time.Now().Add(time.Second))
			_, _, _ = p.read()
		}, func(t *testing.T, w *world) {
			c := w.dial(t)
			<-c.Done()
			if !ponged || !errors.Is(c.Err(), ErrLost) {
				t.Errorf("%s: ponged %v, %v", name, ponged, c.Err())
			}
			c.Close()
		})
	}
}

func TestRefusalsInAWebSocketAreThoseOfMQTT(t *testing.T) {
	inSocket(t, func(p *peer) {
		_, _, _ = p.read()
		p.send(connack<<4, 2, 0, 5)
	}, func(t *testing.T, w *world) {
		_, err := Dial(t.Context(), w.Options)
		if refused, ok := errors.AsType[*RefusedError](err); !ok || refused.Code != 5 {
			t.Errorf("%v", err)
		}
	})
}

func TestPasswordStandsInPlaceOfACertificate(t *testing.T) {
	for _, socket := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var connect []byte
			w := newWorld(t, func(p *peer) {
				_, connect, _ = p.read()
				p.send(connack<<4, 2, 0, 0)
				p.obey()
			})
			w.WebSocket, w.Password, w.Certificate = socket, "SharedAccessSignature sr=x&sig=y", tls.Certificate{}
			w.server.VerifyConnection = func(s tls.ConnectionState) error {
				if len(s.PeerCertificates) != 0 {
					t.Error("a certificate is presented that nobody gave")
				}
				return nil
			}
			w.dial(t).Close()
			const userAndPassword = 0xc0 // flags of CONNECT (MQTT 3.1.1, 3.1.2.3)
			if connect[7]&userAndPassword != userAndPassword || !strings.HasSuffix(string(connect), "\x00\x20"+w.Password) {
				t.Errorf("CONNECT %q", connect)
			}
		})
	}
}

func TestPortFollowsTheTransport(t *testing.T) {
	for socket, want := range map[bool]string{false: "hub.test:8883", true: "hub.test:443"} {
		w := newWorld(t, nil)
		w.WebSocket = socket
		w.Dial = func(_ context.Context, _, address string) (net.Conn, error) {
			if address != want {
				t.Errorf("dialed %s", address)
			}
			return nil, io.EOF
		}
		_, _ = Dial(t.Context(), w.Options)
	}
}

// served is the server's end of a WebSocket as a stream of bytes, by the library that others use.
type served struct {
	*websocket.Conn
	frame io.Reader // nil before the next one
}

func (s *served) Read(p []byte) (int, error) {
	for {
		if s.frame == nil {
			_, frame, err := s.NextReader()
			if err != nil {
				return 0, err
			}
			s.frame = frame
		}
		n, err := s.frame.Read(p)
		if errors.Is(err, io.EOF) {
			s.frame, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (s *served) Write(p []byte) (int, error) {
	return len(p), s.WriteMessage(websocket.BinaryMessage, p)
}

func (s *served) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}
