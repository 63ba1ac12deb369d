// Package sim is a simulated Azure: a Device Provisioning Service and an IoT Hub that speak MQTT 3.1.1 over TLS and
// over WebSocket, and HTTPS, check every credential, issue certificates, remember every message, and have a temper.
//
// It shares no code with the agent: a simulator that shares code with its client proves nothing. Where Azure's
// documentation is silent it does what Microsoft's clients were seen to get, and says so beside the code.
package sim

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// The names by which devices know the simulated cloud.
const (
	DPSHost        = "global.azure-devices-provisioning.net" // for devices
	DPSServiceHost = "simdps.azure-devices-provisioning.net" // for the service API, which enrolls; devices may use it, too
	ManagementHost = "management.azure.com"                  // for CA certificates
	HubHost        = "simhub.azure-devices.net"
	IDScope        = "0ne00SIM001"
)

// Policy is what the cloud grants. The zero value has the defaults named at each field.
type Policy struct {
	Life        time.Duration // of an issued certificate, from its issue on; 30 days
	Backdate    time.Duration // how far before its issue a certificate begins, at most Life/10; 5 minutes
	P384Only    bool          // certify only P-384 keys, as "Certificate issuance" documents it; else also P-256 and RSA from 2048 bits on
	ECDSAServer bool          // the servers and the devices' authorities have P-256 keys: Azure has RSA-2048 and P-384, which take a while
	RSAIssuer   bool          // EZCA's authority has RSA-2048 keys; else P-384, which are made in no time
	Port        int           // Start listens on this port and those behind it, one for each service; 0 is any free ones
	NoDeviceSAS bool          // disableDeviceSAS: the hub takes no token of a device
	// PolicyTokens lets a device at the hub come with a token of a shared access policy. Azure's documentation has it
	// for the protocols other than MQTT.
	PolicyTokens bool
	// LowerCaseKeys derives a device's key in a group from its registration ID in lower case. Whether Azure does is not
	// documented; where it is all in lower case anyhow, it does not matter.
	LowerCaseKeys bool
	// AnyVersion takes every api-version that is a date. Azure refuses those that it does not know.
	AnyVersion bool
	// LeafOnly has api-version 2021-11-01-preview answer with the leaf alone. Whether the one string that it answers with
	// is the chain is not documented.
	LeafOnly bool
	// ConnectionProfile is how a device shall talk to the hub, told from api-version 2026-11-02-preview on; "" is not told.
	ConnectionProfile string
	// BasicTier ends a session that subscribes to the twin, to methods or to messages, which a hub of that tier does not
	// have. How Azure refuses that is not documented.
	BasicTier bool
	// Tickets lets a client go on with an earlier TLS session and show no certificate again. Whether Azure does is not
	// documented.
	Tickets bool
	// LetterLock is how long a message to a device waits for its PUBACK before it is sent again, in the same session. 0 is as
	// long as the session. The documentation has one minute for all protocols; what that means for MQTT it does not say.
	LetterLock time.Duration
	Keep       int           // messages, and events, that stay on record, the newest; 200,000 of each
	Observe    func(Message) // called with every telemetry message after it is recorded and before it is acknowledged
}

// port is where service i listens.
func (p Policy) port(i int) int {
	if p.Port == 0 {
		return 0
	}
	return p.Port + i
}

// Cloud is a running simulated cloud. Its methods may be called side by side.
type Cloud struct {
	pki *pki

	mu          sync.Mutex // guards what follows; never held while waiting or while calling out
	temper      Temper
	policy      Policy
	throttle    throttle
	reached     map[place]int // how often a fault point was passed under this temper
	enrollments []*Enrollment
	operations  operations
	states      map[string]*stateBody   // of registrations, by ID in lower case
	asked       map[string]Registration // likewise
	activated   map[string]activation   // likewise
	dpsCAs      *authorities
	hubCAs      *authorities
	dpsPolicies servicePolicies
	hubPolicies servicePolicies
	polls       map[string][]time.Time
	devices     map[string]*device
	issued      map[string][]*certificate
	journal     journal
	berths      map[string]*berth   // places for files, by correlation ID
	uploaded    map[string][]Upload // by device ID
	expired     map[string]bool     // certificates that were made to expire, by thumbprint
	changed     chan struct{}       // closed at the next change
	links       map[*link]struct{}
	sessions    uint64
	closed      bool

	latency    atomic.Int64  // of the temper, for those who may hold mu
	over       chan struct{} // closed when the cloud is
	running    sync.WaitGroup
	listeners  map[*service]net.Listener
	dps, hub   *service
	ticketKey  [32]byte // of TLS tickets
	dpsWeb     *service
	hubWeb     *service
	management *service
	blobs      *service
	est        *service
	estCA      *estCA
	ezca       *ezca
	entra      *entra
}

// New makes a cloud without listeners: it is reached through Dial only, also inside a testing/synctest bubble.
func New(t Temper, policy ...func(*Policy)) (*Cloud, error) {
	c := &Cloud{
		operations:  operations{},
		states:      map[string]*stateBody{},
		asked:       map[string]Registration{},
		activated:   map[string]activation{},
		dpsCAs:      newAuthorities(),
		hubCAs:      newAuthorities(),
		dpsPolicies: newDPSPolicies(),
		hubPolicies: newHubPolicies(),
		polls:       map[string][]time.Time{},
		devices:     map[string]*device{},
		journal:     newJournal(),
		issued:      map[string][]*certificate{},
		changed:     make(chan struct{}),
		links:       map[*link]struct{}{},
		listeners:   map[*service]net.Listener{},
		berths:      map[string]*berth{},
		uploaded:    map[string][]Upload{},
		over:        make(chan struct{}),
	}
	copy(c.ticketKey[:], newSecret(len(c.ticketKey)))
	c.dps = &service{name: "dps", host: DPSHost, limit: dpsLimit, entry: AtDPSConnect, accept: c.acceptDPS}
	c.hub = &service{name: "hub", host: HubHost, limit: hubLimit, entry: AtConnect, accept: c.acceptHub}
	c.dpsWeb = c.newWeb("dps", DPSHost, c.dps, c.dpsHandler)
	c.hubWeb = c.newWeb("hub", HubHost, c.hub, c.registryHandler)
	c.management = c.newWeb("management", ManagementHost, nil, c.managementHandler)
	c.blobs = c.newWeb("blobs", BlobHost, nil, c.blobHandler)
	c.est = &service{name: "est", host: ESTHost, serve: c.serveEST}
	c.ezca = newEZCA(c)
	c.entra = newEntra(c)
	c.SetTemper(t)
	c.SetPolicy(policy...)
	var err error
	if c.pki, err = newPKI(c.policy.ECDSAServer); err != nil {
		return nil, fmt.Errorf("make the certificate authorities: %w", err)
	}
	if c.estCA, err = newESTCA("est", "Sim EST", newHierarchy); err != nil {
		return nil, fmt.Errorf("make the certificate authorities: %w", err)
	}
	c.estCA.others = []*x509.Certificate{c.pki.factory.root.cert}
	if err := c.ezca.found(c.policy); err != nil {
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
	for i, s := range c.services() {
		if err := c.listen(ctx, s, c.policy.port(i)); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	context.AfterFunc(ctx, c.shut)
	return c, nil
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
	if c.policy.Keep == 0 {
		c.policy.Keep = keepByDefault
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
	c.throttle = throttle{}
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
