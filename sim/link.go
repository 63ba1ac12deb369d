package sim

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	greeting = 60 * time.Second // for TLS and CONNECT; a device whose TPM signs needs seconds
	farewell = time.Second      // for a device to read a refusal before its connection goes

	// maxIdle is what the hub waits at most for a device, whatever it asked for: 29.45 minutes.
	// "Communicate with an IoT hub using MQTT", default keep-alive timeout.
	maxIdle = 1767 * time.Second
)

// service is what stands behind one address.
type service struct {
	name   string
	host   string
	limit  int   // of a packet
	entry  Point // where connections are refused
	accept func(*link, *connect) (handler, error)
	serve  func(*link) // the whole connection of a service that does not speak MQTT
	web    bool        // it is behind port 443, and another service of the same host behind all others
}

// handler is the service's side of one accepted connection. An error of any method ends the connection.
type handler interface {
	present() bool // there is state of an earlier session
	begin()        // CONNACK is on its way
	publish(*publish) error
	subscribe(subscription) (granted byte, err error)
	subscribed() // SUBACK is on its way
	unsubscribe(filter string)
	acknowledged(id uint16) error
	end(orderly bool)
}

// link is one connection of a device.
type link struct {
	cloud   *Cloud
	service *service
	raw     net.Conn
	tls     *tls.Conn
	stream  io.ReadWriter // where packets come and go: TLS, or a WebSocket in it
	chain   []*x509.Certificate
	number  uint64 // of the session
	name    string // of the device, once it has said it
	out     *outbox
	gone    chan struct{} // closed when the connection is
	once    sync.Once
	expiry  *time.Timer // ends the session with its token, where it has one
}

// newLink needs c.mu to be held.
func newLink(c *Cloud, s *service, raw net.Conn) *link {
	c.sessions++
	l := &link{cloud: c, service: s, raw: raw, number: c.sessions, gone: make(chan struct{})}
	l.tls = tls.Server(raw, c.serverConfig(s))
	l.stream = l.tls
	l.out = newOutbox(l)
	return l
}

// kill ends the connection at once, without a packet.
func (l *link) kill() {
	l.once.Do(func() {
		close(l.gone)
		l.raw.Close()
	})
}

func (l *link) run() {
	defer l.forget()
	if l.service.serve != nil {
		l.service.serve(l)
		return
	}
	if l.handshake() {
		l.talk()
	}
}

// handshake reports whether TLS stands.
func (l *link) handshake() bool {
	l.raw.SetDeadline(time.Now().Add(greeting))
	if err := l.tls.Handshake(); err != nil {
		l.refused(fmt.Errorf("TLS handshake: %w", err))
		l.linger()
		return false
	}
	l.chain = l.tls.ConnectionState().PeerCertificates
	return true
}

// talk is one session of MQTT, from CONNECT to its end.
func (l *link) talk() {
	l.raw.SetDeadline(time.Now().Add(greeting))
	in := bufio.NewReader(l.stream)
	c, h, err := l.greet(in)
	if err != nil {
		l.refused(err)
		l.deny(err)
		return
	}
	l.raw.SetDeadline(time.Time{})
	l.cloud.running.Go(l.out.run)
	l.out.send(connack(h.present(), 0))
	l.cloud.log(l.service.name, Connected, l.name, l.describe())
	h.begin()
	err = l.converse(in, h, c.idle())
	h.end(errors.Is(err, errOrderly))
	l.out.finish()
	if l.expiry != nil {
		l.expiry.Stop()
	}
	l.cloud.log(l.service.name, Disconnected, l.name, err.Error())
}

func (l *link) forget() {
	l.kill()
	l.cloud.mu.Lock()
	delete(l.cloud.links, l)
	l.cloud.mu.Unlock()
}

func (l *link) refused(err error) {
	l.cloud.refuseAt(l.service.entry, l.name)
	l.cloud.log(l.service.name, Refused, l.name, err.Error())
}

var errOrderly = errors.New("DISCONNECT")

// converse serves packets until the connection ends, and returns why it did.
func (l *link) converse(in *bufio.Reader, h handler, idle time.Duration) error {
	for {
		l.raw.SetReadDeadline(time.Now().Add(idle))
		p, err := readPacket(in, l.service.limit)
		if err == nil {
			err = l.handle(p, h)
		}
		if err != nil {
			return err
		}
	}
}

func (l *link) handle(p any, h handler) error {
	switch p := p.(type) {
	case *publish:
		return l.publish(p, h)
	case puback:
		return h.acknowledged(p.id)
	case *subscribe:
		return l.subscribe(p, h)
	case *unsubscribe:
		for _, f := range p.filters {
			h.unsubscribe(f)
		}
		l.out.send(answer(typeUnsuback, p.id))
	case pingreq:
		l.out.send(pingresp())
	case disconnect:
		return errOrderly
	default:
		return fmt.Errorf("%T in a running session", p)
	}
	return nil
}

func (l *link) publish(p *publish, h handler) error {
	if p.qos == 2 {
		return errors.New("QoS 2 is not supported")
	}
	if err := h.publish(p); !errors.Is(err, ErrSilent) {
		return err
	}
	return nil
}

// acknowledge is for handlers to call: what they answer beyond it comes after it.
func (l *link) acknowledge(p *publish) { l.acknowledgeIn(p, 0) }

func (l *link) acknowledgeIn(p *publish, wait time.Duration) {
	if p.qos == 1 {
		l.out.sendIn(answer(typePuback, p.id), wait)
	}
}

func (l *link) subscribe(p *subscribe, h handler) error {
	var codes []byte
	for _, one := range p.filters {
		granted, err := h.subscribe(one)
		if err != nil {
			return err
		}
		codes = append(codes, granted)
		l.cloud.log(l.service.name, Subscribed, l.name, fmt.Sprintf("%s: %#x", one.filter, granted))
	}
	l.out.send(answer(typeSuback, p.id, codes...))
	h.subscribed()
	return nil
}

// endsWith ends the session with its token. MQTT has no way to renew one ("Communicate with an IoT hub using MQTT").
func (l *link) endsWith(t *token) {
	if t == nil {
		return
	}
	l.expiry = time.AfterFunc(time.Until(t.expiry), func() {
		l.cloud.log(l.service.name, Expired, l.name, "401003 the token has expired")
		l.kill()
	})
}

// transport is how packets come and go.
func (l *link) transport() string {
	if _, is := l.stream.(*socket); is {
		return byWebSocket
	}
	return byMQTT
}

// idle is how long a device may be silent: one and a half times its keep-alive, section 3.1.2.10.
func (c *connect) idle() time.Duration {
	if c.keepAlive == 0 {
		return maxIdle
	}
	return min(time.Duration(c.keepAlive)*1500*time.Millisecond, maxIdle)
}

func (l *link) describe() string {
	state := l.tls.ConnectionState()
	what := fmt.Sprintf("session %d, %s, SNI %q, %d certificates", l.number, tls.VersionName(state.Version), state.ServerName, len(l.chain))
	if len(l.chain) > 0 {
		what += ", serial " + l.chain[0].SerialNumber.Text(16)
	}
	return what
}
