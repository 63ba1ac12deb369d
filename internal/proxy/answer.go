package proxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/mtls"
)

const (
	maxHeader = 16 << 10
	// longest is the longest that a proxy can make us wait.
	longest = 24 * time.Hour
)

var (
	errTooLong = fmt.Errorf("a header of more than %d bytes", maxHeader)
	errNotHTTP = errors.New("the answer is not HTTP")
)

// readHeader reads the header of an answer and not one byte more: what follows belongs to the tunnel. With an error it
// returns what there was.
func readHeader(r io.Reader) ([]byte, error) {
	var header []byte
	one := make([]byte, 1)
	for len(header) < maxHeader {
		if _, err := io.ReadFull(r, one); err != nil {
			return header, err
		}
		header = append(header, one[0])
		if len(header) <= len(protocol) && !strings.HasPrefix(protocol, string(header)) {
			return header, errNotHTTP
		}
		if bytes.HasSuffix(header, []byte("\r\n\r\n")) || bytes.HasSuffix(header, []byte("\n\n")) {
			return header, nil
		}
	}
	return header, errTooLong
}

const protocol = "HTTP/1."

// unreachable says who can help when the proxy itself is not reached.
func (t *tunnels) unreachable(err error) error {
	err = fmt.Errorf("reach the proxy %s: %w", t.proxy.Host, err)
	settings := mtls.Settings{Host: "network.proxy", Roots: "the system's store of roots"}
	if _, plain := errors.AsType[tls.RecordHeaderError](err); plain {
		return fault.AskOperator(fmt.Errorf("the proxy does not speak TLS: %w", err), "write network.proxy with http:// instead of https://, or correct its port")
	}
	if labelled, ok := mtls.Distrust(err, time.Now(), settings); ok {
		return labelled
	}
	return fault.As(fault.Of(err), err)
}

// silent says who can help when there is no answer of HTTP.
func (t *tunnels) silent(got []byte, err error) error {
	const alert = 0x15 // a TLS record of this type is what a TLS server has to say to plain text (RFC 8446, 5.1)
	switch {
	case len(got) > 0 && got[0] == alert:
		return fault.AskOperator(errors.New("the proxy speaks TLS"), "write network.proxy with https:// instead of http://")
	case errors.Is(err, errNotHTTP), errors.Is(err, errTooLong):
		return fault.AskOperator(err, "network.proxy names something that is no HTTP proxy: correct its host and port")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the proxy hung up without an answer: %w", err)
	}
	return err
}

// judge says whether this answer opens the tunnel, and who can help where it does not.
func (t *tunnels) judge(address string, header []byte) error {
	answer, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(header)), &http.Request{Method: http.MethodConnect})
	if err != nil {
		return fault.AskOperator(fmt.Errorf("%w: %w", errNotHTTP, err), "network.proxy names something that is no HTTP proxy: correct its host and port")
	}
	if answer.StatusCode/100 == 2 && !page(answer) {
		return nil
	}
	said := fmt.Errorf("the proxy answers %s", status(answer))
	switch code := answer.StatusCode; {
	case code/100 == 2, code/100 == 3:
		return fault.AskOperator(fmt.Errorf("%w and a web page, and opens no tunnel", said),
			"network.proxy names a web server, or a portal that wants a login first: correct host and port, or log in")
	case code == http.StatusProxyAuthRequired, code == http.StatusUnauthorized: // tinyproxy 1.11 says 401 to a wrong password
		return t.unauthorized(said, answer.Header.Values("Proxy-Authenticate"))
	case code == http.StatusForbidden:
		return fault.AskOperator(said, "have the proxy allow CONNECT to "+address+"; where it allows port 443 alone, use the transport websocket or https")
	case code == http.StatusTooManyRequests, code == http.StatusRequestTimeout, code >= 500 && code != http.StatusNotImplemented:
		return t.later(said, address, answer.Header.Get("Retry-After"))
	}
	return fault.AskOperator(said, "network.proxy names something that opens no tunnels (CONNECT): correct its host and port, or have it allow CONNECT to "+address)
}

// page reports whether content comes with the answer that is for a browser. A success of CONNECT has none (RFC 9110,
// 9.3.6): such a page is from a web server or a portal that takes CONNECT for a GET.
func page(answer *http.Response) bool {
	length := answer.Header.Get("Content-Length")
	content := length != "" && length != "0" || len(answer.TransferEncoding) > 0
	return content && strings.HasPrefix(answer.Header.Get("Content-Type"), "text/html")
}

// status is the status line without what would break a log line.
func status(answer *http.Response) string {
	const limit = 100
	text := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, answer.Status)
	return text[:min(len(text), limit)]
}

// unauthorized is about a proxy that wants to know who asks.
func (t *tunnels) unauthorized(said error, schemes []string) error {
	wanted := strings.Join(schemes, ", ")
	switch {
	case len(schemes) > 0 && !strings.Contains(strings.ToLower(wanted), "basic"):
		return fault.AskOperator(fmt.Errorf("%w and wants %.100q", said, wanted), "the agent knows Basic alone: have the proxy offer it, or let the device through without a login")
	case t.proxy.User == nil:
		return fault.AskOperator(said, "the proxy wants a login: write the user into network.proxy (http://USER@HOST:PORT) and the password into the file that network.proxy_password names")
	}
	return fault.AskOperator(said, fmt.Sprintf("the proxy does not accept user %q with the password in the file that network.proxy_password names", t.proxy.User.Username()))
}

// later is about what time may heal: the proxy does not get through to address, or has too much to do.
func (t *tunnels) later(said error, address, after string) error {
	err := fmt.Errorf("%w: it does not get through to %s", said, address)
	n, bad := strconv.ParseUint(after, 10, 32)
	if bad != nil || n == 0 {
		return err
	}
	return fault.Later(err, min(time.Duration(n)*time.Second, longest))
}
