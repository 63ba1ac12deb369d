package iothub

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/mqtt"
	"github.com/devid-agent/devid-agent/telemetry"
)

// Dial opens a session as id with id's hub. It returns once the hub has accepted the identity; a refusal of the
// identity wraps telemetry.ErrRefused and is Permanent.
func (h *Hub) Dial(ctx context.Context, id *identity.Identity) (telemetry.Conn, error) {
	p, err := h.Prepare(ctx, id)
	if err != nil {
		return nil, err
	}
	return p.Connect(ctx)
}

// Prepare opens the connection for a session as id, and sends nothing of MQTT: the session that the device has goes on.
// It is a telemetry.Prepare.
func (h *Hub) Prepare(ctx context.Context, id *identity.Identity) (telemetry.Prepared, error) {
	c := &Conn{
		config:     h.config,
		device:     id.DeviceID,
		address:    address(id),
		box:        newMailbox(),
		subscribed: make(chan bool, 1),
		down:       newDownlink(&h.trial),
	}
	c.subscribed <- false
	if !id.Certified() {
		c.until = time.Now().Add(h.config.TokenLife * 4 / 5)
	}
	options, err := h.options(ctx, id, c.receive)
	if err != nil {
		return nil, fmt.Errorf("hub %s: %w", id.Hub, err)
	}
	options.Sessions = h.tickets.of(id)
	p, err := h.open(ctx, options)
	if err != nil {
		return nil, h.failed(id, err)
	}
	return &prepared{h, c, p, id}, nil
}

// prepared is a session that has not begun.
type prepared struct {
	hub  *Hub
	conn *Conn
	wire *mqtt.Prepared
	id   *identity.Identity
}

// Connect begins the session, and returns once the hub has accepted the identity.
func (p *prepared) Connect(ctx context.Context) (telemetry.Conn, error) {
	session, err := p.wire.Connect(ctx)
	if err != nil {
		return nil, p.hub.failed(p.id, err)
	}
	p.conn.session = session
	p.conn.subscribeRemote(ctx)
	return p.conn, nil
}

// Close gives the connection up.
func (p *prepared) Close() error { return p.wire.Close() }

// failed is why no session came about. A refusal may be one of the ticket: the next try shows the certificate.
func (h *Hub) failed(id *identity.Identity, err error) error {
	err = refused(err)
	if errors.Is(err, telemetry.ErrRefused) {
		h.tickets.drop()
	}
	return fmt.Errorf("hub %s: %w", id.Hub, err)
}

// tickets are the TLS sessions of one identity: with one a reconnect costs no signature of its key. A ticket is who
// began the session, so those of another identity, or of the same with another certificate, are never shown.
type tickets struct {
	mu    sync.Mutex
	owner [sha256.Size]byte
	cache tls.ClientSessionCache
}

// of is the cache for id, nil where it has no certificate: a token is not part of TLS, and there is nothing to save.
func (t *tickets) of(id *identity.Identity) tls.ClientSessionCache {
	if !id.Certified() {
		return nil
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%s %s ", id.Hub, id.Name())
	for _, c := range id.Chain {
		sum.Write(c.Raw)
	}
	var owner [sha256.Size]byte
	sum.Sum(owner[:0])
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cache == nil || t.owner != owner {
		t.owner, t.cache = owner, tls.NewLRUClientSessionCache(2)
	}
	return t.cache
}

func (t *tickets) drop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cache = nil
}
