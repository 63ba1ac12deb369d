package mqtt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"github.com/devid-agent/devid-agent/fault"
)

// Where Azure's services take MQTT over WebSocket, DPS as well as hubs ("Communicate with an IoT hub using the MQTT
// protocol", Microsoft Learn), and what the protocol is called there (MQTT 3.1.1, 6.4).
const (
	socketPath  = "/$iothub/websocket"
	subprotocol = "mqtt"
)

const (
	maxUpgrade = 64 << 10       // bytes of the HTTP answer that opens a WebSocket
	longest    = 24 * time.Hour // that a Retry-After can make us wait
)

// upgrade opens a WebSocket (RFC 6455) over conn, which is TLS already.
func (o Options) upgrade(ctx context.Context, conn net.Conn) (net.Conn, error) {
	opening := &prelude{Conn: conn, left: maxUpgrade}
	dialer := websocket.Dialer{
		Subprotocols:      []string{subprotocol},
		WriteBufferSize:   16 << 10,
		NetDialTLSContext: func(context.Context, string, string) (net.Conn, error) { return opening, nil },
	}
	target := url.URL{Scheme: "wss", Host: o.Host, Path: socketPath}
	socket, answer, err := dialer.DialContext(ctx, target.String(), nil)
	if errors.Is(err, websocket.ErrBadHandshake) {
		return nil, noUpgrade(answer)
	}
	if err != nil {
		return nil, err
	}
	if got := socket.Subprotocol(); got != subprotocol {
		return nil, fault.As(fault.Permanent, fmt.Errorf("the server opens a WebSocket for %q, not for MQTT", got))
	}
	opening.left = math.MaxInt
	// A pong waits for what is being written, and no shorter than that: gorilla's one second would end a slow session.
	socket.SetPingHandler(func(data string) error {
		return socket.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(writeTimeout))
	})
	return &frames{Conn: socket}, nil
}

// prelude is the connection before it is a WebSocket: an answer of bounded size, and a write that goes wrong does not
// hide what the server had to say before it hung up.
type prelude struct {
	net.Conn
	left int
}

func (p *prelude) Read(b []byte) (int, error) {
	if p.left <= 0 {
		return 0, fmt.Errorf("an HTTP answer of more than %d bytes", maxUpgrade)
	}
	n, err := p.Conn.Read(b[:min(len(b), p.left)])
	if p.left != math.MaxInt {
		p.left -= n
	}
	return n, err
}

func (p *prelude) Write(b []byte) (int, error) {
	n, err := p.Conn.Write(b)
	if p.left != math.MaxInt {
		return len(b), nil // the read that follows tells
	}
	return n, err
}

// noUpgrade says who can help when the server answers HTTP and opens no WebSocket.
func noUpgrade(answer *http.Response) error {
	text := fmt.Sprintf("the server answers %d %s and opens no WebSocket", answer.StatusCode, http.StatusText(answer.StatusCode))
	if strings.HasPrefix(answer.Header.Get("Content-Type"), "text/html") {
		text += ", but a web page"
	}
	err := errors.New(text)
	switch code := answer.StatusCode; {
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return fault.AskOperator(err, "check the IP filter of the service, and that no gateway or proxy on the way forbids WebSocket")
	case code == http.StatusNotFound:
		return fault.AskOperator(err, "there is no MQTT under "+socketPath+": check the name of the host, or use the transport mqtt")
	case code == http.StatusTooManyRequests, code >= 500 && code != http.StatusNotImplemented:
		return patient(err, answer.Header.Get("Retry-After"))
	}
	return fault.AskOperator(err, "a captive portal or a gateway answers in place of the service: log in to the network, or have WebSocket let through")
}

// patient is err with the wait that the server asks for, where it names one.
func patient(err error, after string) error {
	n, bad := strconv.ParseUint(after, 10, 32)
	if bad != nil || n == 0 {
		return err
	}
	return fault.Later(err, min(time.Duration(n)*time.Second, longest))
}

// frames is a WebSocket as a stream of bytes. The borders of frames mean nothing to MQTT (MQTT 3.1.1, 6).
type frames struct {
	*websocket.Conn
	frame io.Reader // nil before the next one
}

func (f *frames) Read(p []byte) (int, error) {
	for {
		if f.frame == nil {
			kind, frame, err := f.NextReader()
			if err != nil {
				return 0, err
			}
			if kind != websocket.BinaryMessage {
				return 0, errors.New("the server breaks the protocol: a frame that is not binary")
			}
			f.frame = frame
		}
		n, err := f.frame.Read(p)
		if errors.Is(err, io.EOF) {
			f.frame, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// Write sends each packet as a message of its own, as all of Microsoft's SDKs do: what comes together may be more than
// the server takes in one.
func (f *frames) Write(p []byte) (written int, err error) {
	for written < len(p) {
		n := leading(p[written:])
		if err := f.WriteMessage(websocket.BinaryMessage, p[written:written+n]); err != nil {
			return written, err
		}
		written += n
	}
	return written, nil
}

// leading is the length of the first packet in p, and all of p where that is not whole.
func leading(p []byte) int {
	length := 0
	for i := 1; i < len(p) && i <= 4; i++ {
		length |= int(p[i]&0x7f) << (7 * (i - 1))
		if p[i] < 0x80 {
			return min(i+1+length, len(p))
		}
	}
	return len(p)
}

func (f *frames) SetDeadline(t time.Time) error {
	return errors.Join(f.SetReadDeadline(t), f.SetWriteDeadline(t))
}
