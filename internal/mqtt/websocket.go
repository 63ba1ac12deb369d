package mqtt

import (
	"bufio"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

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

// acceptGUID is what a server proves with that it knows WebSocket (RFC 6455, 1.3).
const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// upgrade opens a WebSocket (RFC 6455, 4.1) over conn, which is TLS already.
func (o Options) upgrade(conn net.Conn) (net.Conn, error) {
	nonce := make([]byte, 16)
	_, _ = rand.Read(nonce) // never fails
	key := base64.StdEncoding.EncodeToString(nonce)
	_, writing := io.WriteString(conn, "GET "+socketPath+" HTTP/1.1\r\nHost: "+o.Host+"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: "+key+"\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: "+subprotocol+"\r\n\r\n")
	limited := &io.LimitedReader{R: conn, N: maxUpgrade}
	in := bufio.NewReader(limited)
	answer, err := http.ReadResponse(in, &http.Request{Method: http.MethodGet})
	if err != nil && limited.N <= 0 {
		err = fmt.Errorf("an HTTP answer of more than %d bytes", maxUpgrade)
	}
	if err != nil {
		return nil, errors.Join(err, writing) // the server may have said why before it hung up
	}
	if !switches(answer, key) {
		return nil, noUpgrade(answer)
	}
	if got := answer.Header.Get("Sec-WebSocket-Protocol"); got != subprotocol {
		return nil, fault.As(fault.Permanent, fmt.Errorf("the server opens a WebSocket for %q, not for MQTT", got))
	}
	limited.N = math.MaxInt64
	return &frames{Conn: conn, in: in}, nil
}

// switches reports whether the answer opens a WebSocket for who has asked with key.
func switches(answer *http.Response, key string) bool {
	sum := sha1.Sum([]byte(key + acceptGUID))
	return answer.StatusCode == http.StatusSwitchingProtocols && strings.EqualFold(answer.Header.Get("Upgrade"), "websocket") &&
		strings.Contains(strings.ToLower(answer.Header.Get("Connection")), "upgrade") &&
		answer.Header.Get("Sec-WebSocket-Accept") == base64.StdEncoding.EncodeToString(sum[:])
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
