// Package websocket stands in for github.com/gorilla/websocket in the agent that is shipped. The MQTT client links that
// module for connections that it opens itself; the agent hands it open ones (internal/mqtt), so that none of this is ever
// called. Whatever is called returns an error.
package websocket

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

var errAbsent = errors.New("websocket: not in this build")

// BinaryMessage is the opcode of a binary frame (RFC 6455, section 11.8).
const BinaryMessage = 2

// Dialer has the fields that the MQTT client sets. None of them does anything.
type Dialer struct {
	Proxy                           func(*http.Request) (*url.URL, error)
	HandshakeTimeout                time.Duration
	EnableCompression               bool
	TLSClientConfig                 *tls.Config
	Subprotocols                    []string
	ReadBufferSize, WriteBufferSize int
}

// Dial connects to nothing.
func (*Dialer) Dial(string, http.Header) (*Conn, *http.Response, error) { return nil, nil, errAbsent }

// Conn is what Dial never returns: it has the methods that a net.Conn of the MQTT client needs.
type Conn struct{}

func (*Conn) NextReader() (int, io.Reader, error) { return 0, nil, errAbsent }
func (*Conn) WriteMessage(int, []byte) error      { return errAbsent }
func (*Conn) SetReadDeadline(time.Time) error     { return errAbsent }
func (*Conn) SetWriteDeadline(time.Time) error    { return errAbsent }
func (*Conn) Close() error                        { return errAbsent }
func (*Conn) LocalAddr() net.Addr                 { return nil }
func (*Conn) RemoteAddr() net.Addr                { return nil }
