// Package ingest takes readings from other programs on the device: HTTP/1.1 on a Unix socket, where 200 means
// that the reading is on the medium.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Spool keeps readings. A *spool.Spool is one.
type Spool interface {
	// Append stores body and returns once it is on the medium.
	Append(ctx context.Context, stream string, body []byte) (seq uint64, err error)
}

// Server takes readings from programs that may open its socket. Its file mode is the only access control.
type Server struct {
	Path    string      // of the socket; its directory is made where it does not exist
	Mode    fs.FileMode // of the socket; 0 is 0660
	Spool   Spool
	MaxBody int64 // bytes of one reading; 0 is spool.MaxBody
	Conns   int   // connections at a time, further ones wait; 0 is 64
	Log     *slog.Logger

	taken, refused atomic.Uint64
	refusing       atomic.Bool // the spool did not take the last reading
}

// Readings counts what became of the readings since the start.
type Readings struct {
	Taken   uint64 `json:"taken"`   // promised: on the medium
	Refused uint64 `json:"refused"` // told to the sender
}

// Readings is the count so far.
func (s *Server) Readings() Readings {
	return Readings{Taken: s.taken.Load(), Refused: s.refused.Load()}
}

const (
	usualMode  = 0o660
	usualConns = 64
	// grace is for readings that are on their way to the medium when the agent stops.
	grace = 2 * time.Second
)

// A local program has its reading ready when it connects: whoever is slower than this has gone wrong, and holds
// one of few connections.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second // of a request, and of silence between two: connecting again is cheap here
	appendTimeout = 20 * time.Second // a card that collects its garbage takes seconds
	writeTimeout  = readTimeout + appendTimeout + 5*time.Second
	maxHeader     = 8 << 10
)

// Run serves until ctx ends, then finishes what has begun, 2 s long, and returns ctx's error. Any other error says
// why the socket cannot be served; Run may be called again.
func (s *Server) Run(ctx context.Context) error {
	socket, err := s.listen(ctx)
	if err != nil {
		return err
	}
	server := s.server()
	served := make(chan error, 1)
	var group sync.WaitGroup
	group.Go(func() { served <- server.Serve(limit(socket, or(s.Conns, usualConns))) })
	defer group.Wait()
	select {
	case err := <-served:
		return errors.Join(fmt.Errorf("serve %s: %w", s.Path, err), server.Close())
	case <-ctx.Done():
		finish(server)
		return ctx.Err()
	}
}

func (s *Server) server() *http.Server {
	return &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
	}
}

// finish lets requests in hand end, for as long as the grace is.
func finish(server *http.Server) {
	ctx, stop := context.WithTimeout(context.Background(), grace)
	defer stop()
	_ = server.Shutdown(ctx)
	_ = server.Close()
}

// limit is l with at most n connections open at a time.
func limit(l net.Listener, n int) net.Listener {
	return &limited{Listener: l, room: make(chan struct{}, n), closed: make(chan struct{})}
}

type limited struct {
	net.Listener
	room   chan struct{}
	closed chan struct{}
	once   sync.Once
}

func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.room <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.room
		return nil, err
	}
	return &guest{Conn: c, leave: sync.OnceFunc(func() { <-l.room })}, nil
}

func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type guest struct {
	net.Conn
	leave func()
}

func (g *guest) Close() error {
	err := g.Conn.Close()
	g.leave()
	return err
}

func or(n, usual int) int {
	if n == 0 {
		return usual
	}
	return n
}
