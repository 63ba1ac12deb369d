// Package sim is a simulated Azure: a Device Provisioning Service and an IoT Hub that speak MQTT 3.1.1 over TLS,
// check every credential, issue certificates, remember every message, and have a temper.
//
// It shares no code with the agent: a simulator that shares code with its client proves nothing. Where Azure's
// documentation is silent it does what Microsoft's clients were seen to get, and says so beside the code.
package sim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// The names by which devices know the simulated cloud.
const (
	DPSHost = "global.azure-devices-provisioning.net"
	HubHost = "simhub.azure-devices.net"
	IDScope = "0ne00SIM001"
)

// Policy is what the cloud grants. The zero value has the defaults named at each field.
type Policy struct {
	Life        time.Duration // of an issued certificate, from its issue on; 30 days
	Backdate    time.Duration // how far before its issue a certificate begins, at most Life/10; 5 minutes
	P384Only    bool          // certify only P-384 keys, as "Certificate issuance" documents it; else also P-256 and RSA from 2048 bits on
	ECDSAServer bool          // the servers have a P-256 key: Azure has RSA-2048, which takes a while to make
	Observe     func(Message) // called with every telemetry message after it is recorded and before it is acknowledged
}

// Cloud is a running simulated cloud. Its methods may be called side by side.
type Cloud struct {
	pki *pki

	mu          sync.Mutex // guards what follows; never held while waiting or while calling out
	temper      Temper
	policy      Policy
	reached     map[place]int // how often a fault point was passed under this temper
	enrollments []*Enrollment
	operations  map[string]*registration
	polls       map[string][]time.Time
	devices     map[string]*device
	received    map[string][]Message
	issued      map[string][]*certificate
	events      []Event
	changed     chan struct{} // closed at the next change
	links       map[*link]struct{}
	sessions    uint64
	closed      bool

	latency   atomic.Int64  // of the temper, for those who may hold mu
	over      chan struct{} // closed when the cloud is
	running   sync.WaitGroup
	listeners map[*service]net.Listener
	dps, hub  *service
	est       *service
	estCA     *estCA
}

// New makes a cloud without listeners: it is reached through Dial only, also inside a testing/synctest bubble.
func New(t Temper, policy ...func(*Policy)) (*Cloud, error) {
	c := &Cloud{
		operations: map[string]*registration{},
		polls:      map[string][]time.Time{},
		devices:    map[string]*device{},
		received:   map[string][]Message{},
		issued:     map[string][]*certificate{},
		changed:    make(chan struct{}),
		links:      map[*link]struct{}{},
		listeners:  map[*service]net.Listener{},
		over:       make(chan struct{}),
	}
	c.dps = &service{name: "dps", host: DPSHost, limit: dpsLimit, accept: c.acceptDPS}
	c.hub = &service{name: "hub", host: HubHost, limit: hubLimit, accept: c.acceptHub}
	c.est = &service{name: "est", host: ESTHost, serve: c.serveEST}
	c.SetTemper(t)
	c.SetPolicy(policy...)
	var err error
	if c.pki, err = newPKI(c.policy.ECDSAServer); err != nil {
		return nil, fmt.Errorf("make the certificate authorities: %w", err)
	}
	if c.estCA, err = newESTCA(); err != nil {
		return nil, fmt.Errorf("make the certificate authorities: %w", err)
	}
	c.Enroll(Enrollment{CA: c.pki.factory.root.cert})
	return c, nil
}

// Start makes a cloud that listens on free ports of 127.0.0.1 until ctx ends or Close is called.
func Start(ctx context.Context, t Temper, policy ...func(*Policy)) (*Cloud, error) {
	c, err := New(t, policy...)
	if err != nil {
		return nil, err
	}
	for _, s := range []*service{c.dps, c.hub, c.est} {
		if err := c.listen(ctx, s); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	context.AfterFunc(ctx, c.shut)
	return c, nil
}

func (c *Cloud) listen(ctx context.Context, s *service) error {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for the %s: %w", s.name, err)
	}
	c.listeners[s] = l
	c.running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.admit(s, conn)
		}
	})
	return nil
}

// Close ends every session and returns when nothing of the cloud runs any more.
func (c *Cloud) Close() error {
	c.shut()
	c.running.Wait()
	return nil
}

func (c *Cloud) shut() {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		close(c.over)
	}
	c.mu.Unlock()
	for _, l := range c.listeners {
		l.Close()
	}
	c.dropAll()
}

func (c *Cloud) dropAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for l := range c.links {
		l.kill()
	}
}

// admit serves conn until its session ends. A cloud that is closed or offline hangs up.
func (c *Cloud) admit(s *service, conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.temper.Offline {
		conn.Close()
		return false
	}
	l := newLink(c, s, conn)
	c.links[l] = struct{}{}
	c.running.Go(l.run)
	return true
}

// DPSAddr is the host:port where the DPS listens, "" after New.
func (c *Cloud) DPSAddr() string { return c.addr(c.dps) }

// HubAddr is the host:port where the hub listens, "" after New.
func (c *Cloud) HubAddr() string { return c.addr(c.hub) }

func (c *Cloud) addr(s *service) string {
	if l := c.listeners[s]; l != nil {
		return l.Addr().String()
	}
	return ""
}

// Dial connects to the DPS or the hub, by name or by listening address, without a network: everything between
// the two ends is memory, and a synctest bubble may hold both.
func (c *Cloud) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s, err := c.find(address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	near, far := newPipe("device", address)
	if !c.admit(s, far) {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: far.LocalAddr(), Err: errors.New("connection refused")}
	}
	return near, nil
}

func (c *Cloud) find(address string) (*service, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	for _, s := range []*service{c.dps, c.hub, c.est} {
		if host == s.host || address == c.addr(s) {
			return s, nil
		}
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

// SetPolicy changes what is granted from now on.
func (c *Cloud) SetPolicy(change ...func(*Policy)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range change {
		f(&c.policy)
	}
	if c.policy.Life == 0 {
		c.policy.Life = 30 * 24 * time.Hour
	}
	if c.policy.Backdate == 0 {
		c.policy.Backdate = 5 * time.Minute
	}
}

// SetTemper changes the weather from now on. What a Temper counts, it counts anew.
func (c *Cloud) SetTemper(t Temper) {
	c.mu.Lock()
	c.temper = t
	c.reached = map[place]int{}
	c.latency.Store(int64(t.Latency))
	c.mu.Unlock()
	if t.Offline {
		c.dropAll()
	}
}

func (c *Cloud) weather() Temper {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.temper
}
