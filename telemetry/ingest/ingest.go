// Package ingest takes readings from other programs on the device, by HTTP/1.1 on a Unix socket and by MQTT: what it
// acknowledges is on the medium.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// Spool keeps readings. A *spool.Spool is one.
type Spool interface {
	// Put stores all readings or none, and returns the number of the first, which the others follow. Where the durability
	// of their stream is to be on the medium, they are when it returns.
	Put(ctx context.Context, readings ...spool.Reading) (first uint64, err error)
}

// Server takes readings from programs that may open its socket, and holds the rules for those that come by MQTT.
type Server struct {
	Path string      // of the socket; its directory is made where it does not exist
	Mode fs.FileMode // of the socket; 0 is 0660

	Spool Spool
	// Volatile says of a stream that Put returns before its readings are on the medium: 202 is said instead of 200.
	// nil is none.
	Volatile func(stream string) bool

	Permissions []Permission // none: whoever may open the socket may write every stream
	Quota       Quota        // of each client
	MaxBody     int64        // bytes of one reading; 0 is spool.MaxBody
	MaxBatch    int64        // bytes of a batch over HTTP; 0 is 1 MiB
	InHand      int64        // bytes of readings in memory at a time, further ones wait; 0 is 4 MiB
	Conns       int          // connections at a time, further ones wait; 0 is 64
	Cloud       http.Handler // /v1/methods/ and /v1/messages/; nil = they are not there
	Log         *slog.Logger

	gate gate
}

const (
	usualMode  = 0o660
	usualConns = 64
	usualBatch = 1 << 20
	// grace is for readings that are on their way to the medium when the agent stops.
	grace = 2 * time.Second
)

// A local program has its reading ready when it connects: whoever is slower than this has gone wrong, and holds
// one of few connections.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second // of a request
	idleTimeout   = 12 * time.Second // between two; who sends each 10 s, as many do, is not to meet the end of it on the way
	handTimeout   = 5 * time.Second  // of waiting until others' readings are stored
	writeTimeout  = readTimeout + handTimeout + appendTimeout + 5*time.Second
	maxHeader     = 8 << 10
)

// Run serves until ctx ends, then finishes what has begun, 2 s long, and returns ctx's error. Any other error says
// why the socket cannot be served; Run may be called again.
func (s *Server) Run(ctx context.Context) error {
	if err := s.rules().wrong; err != nil {
		return err
	}
	socket, err := door{path: s.Path, mode: s.Mode, key: "telemetry.ingest.socket"}.listen(ctx)
	if err != nil {
		return err
	}
	server := s.server()
	served := make(chan error, 1)
	var group sync.WaitGroup
	group.Go(func() { served <- server.Serve(limit(socket, or(s.Conns, usualConns), s.Log)) })
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
		IdleTimeout:       idleTimeout,
		WriteTimeout:      writeTimeout,
		MaxHeaderBytes:    maxHeader,
		ConnContext:       knowPeer,
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
