package ingest

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

// MQTT takes readings from programs that publish by MQTT 3.1.1, as to a broker, and gives them to nobody but Server's
// spool: there are no subscriptions. A PUBLISH of QoS 1 or 2 is acknowledged once its reading is promised.
//
// Every session is a clean one: it ends with its connection, and CONNACK says so to whoever asks for more.
type MQTT struct {
	Server *Server     // whose spool and rules hold; it need not run
	Listen string      // ADDRESS:PORT on the loopback interface, or the path of a Unix socket
	Mode   fs.FileMode // of the socket; 0 is 0660
	Topics []Topic     // the first that meets a topic holds; where none does, the topic is the stream, with dots for /
	// Users maps user names to passwords; where there is none, no password is asked for.
	Users map[string]string
	Conns int // connections at a time, further ones wait; 0 is 64
	Log   *slog.Logger

	mu       sync.Mutex
	sessions map[*session]struct{}
	quiet    quiet
}

// Run serves until ctx ends, stores what has arrived, 2 s long, and returns ctx's error. Any other error says why
// Listen cannot be served; Run may be called again.
func (m *MQTT) Run(ctx context.Context) error {
	if err := errors.Join(m.Server.rules().wrong, m.check()); err != nil {
		return err
	}
	l, err := m.listen(ctx)
	if err != nil {
		return err
	}
	return m.serve(ctx, l)
}

// serve takes clients from l until ctx ends.
func (m *MQTT) serve(ctx context.Context, l net.Listener) error {
	hard, kill := context.WithCancel(context.WithoutCancel(ctx)) // for what is on its way to the medium
	defer kill()
	limited := limit(l, or(m.Conns, usualConns), m.Log)
	var group sync.WaitGroup
	group.Go(func() { m.accept(ctx, hard, limited, &group) })
	<-ctx.Done()
	_ = limited.Close()
	m.each((*session).stop)
	cut := time.AfterFunc(grace, func() {
		kill()
		m.each((*session).hangUp)
	})
	group.Wait()
	cut.Stop()
	return ctx.Err()
}

func (m *MQTT) check() error {
	var wrong []error
	for _, t := range m.Topics {
		wrong = append(wrong, t.Check())
	}
	return fault.AskOperator(errors.Join(wrong...), "correct telemetry.ingest.mqtt.topics")
}

// accept gives each client a session of its own, until the listener is closed. Whatever else goes wrong passes: there
// may be no file descriptors left.
func (m *MQTT) accept(ctx, hard context.Context, l net.Listener, group *sync.WaitGroup) {
	for ctx.Err() == nil {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			m.complain(peer{}, err)
			pause(ctx, time.Second)
			continue
		}
		s := newSession(m, conn)
		m.enter(s)
		if ctx.Err() != nil { // it came as all were told
			s.stop()
		}
		group.Go(func() {
			defer m.leave(s)
			s.serve(ctx, hard)
		})
	}
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (m *MQTT) enter(s *session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sessions == nil {
		m.sessions = make(map[*session]struct{})
	}
	m.sessions[s] = struct{}{}
}

func (m *MQTT) leave(s *session) {
	m.mu.Lock()
	delete(m.sessions, s)
	m.mu.Unlock()
	close(s.gone)
}

func (m *MQTT) each(do func(*session)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for s := range m.sessions {
		do(s)
	}
}

// claim gives s its name, if it has one, and hangs up on the session that has it (section 3.1.4). Two users do not meet: nobody
// throws out another one's client by its name.
func (m *MQTT) claim(ctx context.Context, s *session, name string) {
	if name == "" {
		return
	}
	var before *session
	m.mu.Lock()
	for other := range m.sessions {
		if other.name == name {
			before = other
			other.name = ""
		}
	}
	s.name = name
	m.mu.Unlock()
	if before == nil {
		return
	}
	before.hangUp()
	ctx, stop := context.WithTimeout(ctx, grace)
	defer stop()
	select {
	case <-before.gone: // what it has sent is stored before what comes now
	case <-ctx.Done():
	}
}

// knows reports whether the client has shown the password of its user, where one is asked for.
func (m *MQTT) knows(g greeting) bool {
	if len(m.Users) == 0 {
		return true
	}
	password, ok := m.Users[g.user]
	return subtle.ConstantTimeCompare([]byte(password), g.password) == 1 && ok
}

// complain logs what is wrong with a client, unless that was logged just now.
func (m *MQTT) complain(p peer, err error) {
	if m.quiet.first(p.client() + ": " + err.Error()) {
		m.Log.Warn("a client is cut off", "client", p.String(), "err", err, "hint", fault.Hint(err))
	}
}

// listen opens the socket, or the port where it is one of the loopback interface: what is sent there is not encrypted.
func (m *MQTT) listen(ctx context.Context) (net.Listener, error) {
	const key = "telemetry.ingest.mqtt.listen"
	if strings.Contains(m.Listen, "/") {
		return door{path: m.Listen, mode: m.Mode, key: key}.listen(ctx)
	}
	host, port, err := net.SplitHostPort(m.Listen)
	if err != nil {
		return nil, fault.AskOperator(fmt.Errorf("listen on %q: %w", m.Listen, err), "write ADDRESS:PORT or an absolute path as "+key)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fault.AskOperator(fmt.Errorf("listen on %s: not an address of the loopback interface", m.Listen), "write 127.0.0.1:PORT or [::1]:PORT as "+key)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fault.AskOperator(fmt.Errorf("listen on %s: %w", m.Listen, err), "stop what listens there, or name another port as "+key)
	}
	return l, nil
}

// rules are the configured ones and then our own.
func (m *MQTT) rules() []Topic { return slices.Concat(m.Topics, ThinEdge) }
