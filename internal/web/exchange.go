package web

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/mtls"
)

// connection is HTTP/1.1 over one TLS connection. The messages are net/http's own; its Transport, with proxies, pools and
// HTTP/2, would be 175 KB of a small device's flash for what one request at a time does not need.
type connection struct {
	conn *tls.Conn
	in   *bufio.Reader
	size meter
	used time.Time // when the last answer had come; zero before the first
}

// meter ends a reader after left bytes.
type meter struct {
	from io.Reader
	left int64
}

var errTooLong = errors.New("the header does not end")

func (m *meter) Read(p []byte) (int, error) {
	if m.left <= 0 {
		return 0, errTooLong
	}
	n, err := m.from.Read(p[:min(int64(len(p)), m.left)])
	m.left -= int64(n)
	return n, err
}

// connect opens a connection to where u is.
func (l *Link) connect(ctx context.Context, u *url.URL) (*connection, error) {
	address := u.Host
	if u.Port() == "" {
		address = net.JoinHostPort(u.Hostname(), "443")
	}
	raw, err := l.dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	config := l.tls()
	config.ServerName = u.Hostname()
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		l.distrust(raw, err)
		raw.Close()
		return nil, err
	}
	c := &connection{conn: conn, size: meter{from: conn}}
	c.in = bufio.NewReader(&c.size)
	return c, nil
}

// distrust tells a dialer that can try another address that it was not the server who answered at this one.
func (l *Link) distrust(raw net.Conn, err error) {
	_, foreign := mtls.Distrust(err, time.Now(), l.config.Settings)
	if dialed, ok := raw.(interface{ Distrust() }); ok && foreign {
		dialed.Distrust()
	}
}

// exchange sends r and returns the whole answer. A connection that has served before may have ended meanwhile; where
// it did without a byte of an answer, a question goes again on a new one. What changes something does not: it may have
// arrived.
func (l *Link) exchange(ctx context.Context, r *http.Request) (*Answer, error) {
	for {
		c, err := l.ready(ctx, r.URL)
		if err != nil {
			return nil, err
		}
		again := !c.used.IsZero() && r.Method == http.MethodGet
		a, err := l.converse(ctx, c, r)
		if err == nil {
			return a, nil
		}
		l.Close()
		if !again || !errors.Is(err, errUnanswered) || ctx.Err() != nil {
			return nil, err
		}
	}
}

// errUnanswered says that the other side ended the connection without a byte of an answer.
var errUnanswered = errors.New("the connection ended")

// ready is the open connection, or a new one where there is none that was used a moment ago.
func (l *Link) ready(ctx context.Context, u *url.URL) (*connection, error) {
	if l.open != nil && time.Since(l.open.used) < idleTimeout {
		return l.open, nil
	}
	l.Close()
	c, err := l.connect(ctx, u)
	if err != nil {
		return nil, err
	}
	l.open = c
	return c, nil
}

func (l *Link) converse(ctx context.Context, c *connection, r *http.Request) (*Answer, error) {
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if !stop() {
			l.Close()
		}
	}()
	response, err := c.ask(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	a, err := l.read(response)
	if err != nil {
		return nil, err
	}
	c.used = time.Now()
	if response.Close {
		l.Close()
	}
	return a, nil
}

// ask returns the answer to r, its body not yet read. A server may answer before it has read all of the request: what
// it says counts, not that the rest could not be written.
func (c *connection) ask(r *http.Request) (*http.Response, error) {
	c.size.left = maxHeader
	out := bufio.NewWriter(c.conn)
	written := r.Write(out)
	if written == nil {
		written = out.Flush()
	}
	if _, err := c.in.Peek(1); err != nil {
		return nil, unanswered(errors.Join(err, written))
	}
	for range 5 {
		response, err := http.ReadResponse(c.in, r)
		if err != nil {
			return nil, c.damaged(err)
		}
		if response.StatusCode >= http.StatusOK {
			c.size.left = 1 << 62
			return response, nil
		}
	}
	return nil, fault.As(fault.Permanent, errors.New("the server answers provisionally without end"))
}

func unanswered(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("%w: %w", errUnanswered, err)
	}
	return err
}

func (c *connection) damaged(err error) error {
	if c.size.left <= 0 {
		return fmt.Errorf("%w: %w", errTooLong, err)
	}
	return err
}

// repeat is r once more, for u, and says whence it comes.
func repeat(r *http.Request, u *url.URL) (*http.Request, error) {
	again := r.Clone(r.Context())
	again.URL, again.Host = u, u.Host
	again.Header.Set("Referer", r.URL.String())
	if r.GetBody == nil {
		return again, nil
	}
	body, err := r.GetBody()
	again.Body = body
	return again, err
}
