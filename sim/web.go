package sim

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"
)

// DPSAddr is the host:port where the DPS listens for MQTT, "" after New.
func (c *Cloud) DPSAddr() string { return c.addr(c.dps) }

// HubAddr is the host:port where the hub listens for MQTT, "" after New.
func (c *Cloud) HubAddr() string { return c.addr(c.hub) }

// DPSHTTPAddr is the host:port where the DPS listens for HTTPS: devices that register, and its service API.
func (c *Cloud) DPSHTTPAddr() string { return c.addr(c.dpsWeb) }

// DPSWebSocketAddr is the host:port where the DPS listens for MQTT over WebSocket: that of DPSHTTPAddr.
func (c *Cloud) DPSWebSocketAddr() string { return c.addr(c.dpsWeb) }

// HubWebSocketAddr is the host:port where the hub listens for MQTT over WebSocket: that of RegistryAddr.
func (c *Cloud) HubWebSocketAddr() string { return c.addr(c.hubWeb) }

// RegistryAddr is the host:port where the hub listens for HTTPS: its identity registry.
func (c *Cloud) RegistryAddr() string { return c.addr(c.hubWeb) }

// ManagementAddr is the host:port of the resource manager, where CA certificates are uploaded and proven.
func (c *Cloud) ManagementAddr() string { return c.addr(c.management) }

// newWeb makes what listens on port 443 of host. Where there is a broker, it is behind the WebSocket.
func (c *Cloud) newWeb(name, host string, broker *service, h func(*link) http.Handler) *service {
	s := &service{name: name, host: host, web: true}
	s.serve = func(l *link) {
		l.tls = tls.Server(l.raw, c.webConfig(s))
		l.stream = l.tls
		if !l.handshake() {
			return
		}
		l.raw.SetDeadline(time.Time{})
		one := &oneConn{conn: l.tls, over: make(chan struct{})}
		serveUntil(one, &webHandler{link: l, broker: broker, next: h(l), one: one})
	}
	return s
}

func (c *Cloud) webConfig(s *service) *tls.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	config := c.serverConfig(s)
	if config.ClientAuth == tls.RequireAndVerifyClientCert {
		config.ClientAuth = tls.VerifyClientCertIfGiven // people and devices with a key come without
	}
	return config
}

// serveHTTP returns when the connection is closed.
func serveHTTP(conn net.Conn, h http.Handler) {
	serveUntil(&oneConn{conn: conn, over: make(chan struct{})}, h)
}

// serveUntil returns when the connection is closed.
func serveUntil(one *oneConn, h http.Handler) {
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: greeting,
		IdleTimeout:       greeting,
		ErrorLog:          log.New(io.Discard, "", 0),
		ConnState: func(_ net.Conn, s http.ConnState) {
			switch s {
			case http.StateClosed:
				one.Close()
			case http.StateHijacked:
				one.taken.Store(true)
			}
		},
	}
	server.Serve(one)
}

// webHandler tells a WebSocket from a request.
type webHandler struct {
	link   *link
	broker *service // nil: there is no WebSocket here
	next   http.Handler
	one    *oneConn
}

func (h *webHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("x-ms-request-id", newGUID())
	w.Header().Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
	if wait := time.Duration(h.link.cloud.latency.Load()); wait > 0 && !h.link.sleepUntil(time.Now().Add(wait)) {
		panic(http.ErrAbortHandler)
	}
	if h.spoiled(w, r) {
		return
	}
	if r.URL.Path == webSocketPath && h.broker != nil {
		defer func() {
			if h.one.taken.Load() { // else the server has an answer to write, and closes after it
				h.one.Close()
			}
		}()
		h.link.upgrade(w, r, h.broker)
		return
	}
	h.next.ServeHTTP(w, r)
}

const maxBody = 1 << 20 // of a request to a service; devices' have limits of their own

// readBody returns the body of r, of at most limit bytes.
func readBody(r *http.Request, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read the body: %w", err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("body of more than %d bytes", limit)
	}
	return b, nil
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	w.Write(body)
}

// serviceTrouble is what the temper has to say at p to a program: nil, or a refusal to answer with. Where it ends the
// connection, the handler ends here.
func (c *Cloud) serviceTrouble(r *http.Request, p Point, name string) *Refusal {
	err := c.fault(p, name)
	if err == nil {
		return nil
	}
	c.log("service", Faulted, name, fmt.Sprintf("%s: %v", p, err))
	if no, ok := errors.AsType[*Refusal](err); ok {
		return no
	}
	if errors.Is(err, ErrSilent) {
		select {
		case <-r.Context().Done():
		case <-c.over:
		}
	}
	panic(http.ErrAbortHandler) // net/http's way to end a connection without an answer
}
