package sim

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"net/http"
	"slices"
	"time"
)

// estCA is the authority behind the EST server. The cloud's mutex guards it.
type estCA struct {
	service  string // which has it
	name     string
	found    func(name string) (hierarchy, error)
	weather  func(Temper) ESTTemper
	others   []*x509.Certificate // roots of those who may enroll beside its own
	now      hierarchy
	before   *hierarchy // after a rollover
	crossed  []*x509.Certificate
	users    map[string]string
	revoked  map[string]bool // by serial number
	issued   map[string][]*x509.Certificate
	counts   map[string]*ESTCount
	requests map[string]map[[32]byte]bool // distinct ones
	earliest map[string]time.Time         // when the next request may come
}

// ESTCount is what a device has asked the EST server for.
type ESTCount struct {
	CACerts, Attributes         int
	Enrolled, Reenrolled        int // requests, whatever the answer
	Requests                    int // that differ in a byte
	Early                       int // that came before the time that the server had named
	Pending, Issued, Refused    int // answers
	Renewed, Rekeyed            int // issued for the same key, for another
	Passwords                   int // requests of any kind that carried one
	AuthenticatedByBasic        int
	AuthenticatedByCertificates int
}

func newESTCA(service, name string, found func(string) (hierarchy, error)) (*estCA, error) {
	h, err := found(name)
	return &estCA{
		service: service, name: name, found: found, weather: func(t Temper) ESTTemper { return t.EST },
		now: h, users: map[string]string{}, revoked: map[string]bool{}, issued: map[string][]*x509.Certificate{},
		counts: map[string]*ESTCount{}, requests: map[string]map[[32]byte]bool{}, earliest: map[string]time.Time{},
	}, err
}

// ESTRoots returns the roots of the EST server's CA, the newest first.
func (c *Cloud) ESTRoots() []*x509.Certificate {
	return c.estRoots(c.estCA)
}

func (c *Cloud) estRoots(a *estCA) []*x509.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	return a.roots()
}

func (a *estCA) roots() []*x509.Certificate {
	roots := []*x509.Certificate{a.now.root.cert}
	if a.before != nil {
		roots = append(roots, a.before.root.cert)
	}
	return roots
}

// trusted are the roots of those who may talk to the server. The caller holds the cloud's mutex.
func (a *estCA) trusted() []*x509.Certificate { return append(a.roots(), a.others...) }

// ESTUser lets name enroll any device by HTTP Basic.
func (c *Cloud) ESTUser(name, password string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.estCA.users[name] = password
}

// ESTRevoke revokes every certificate that device has from the EST server.
func (c *Cloud) ESTRevoke(device string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.estCA.issued[device] {
		c.estCA.revoked[x.SerialNumber.String()] = true
	}
}

// ESTRollover gives the EST server's CA a new root and a new issuing CA of the same names, and cacerts the
// cross-certificates of RFC 4210, 4.4: new with old and old with new.
func (c *Cloud) ESTRollover() error { return c.rollover(c.estCA) }

func (c *Cloud) rollover(a *estCA) error {
	next, err := a.found(a.name)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old := a.now
	newWithOld, err := cross(next.root, old.root)
	if err != nil {
		return err
	}
	oldWithNew, err := cross(old.root, next.root)
	if err != nil {
		return err
	}
	a.now, a.before = next, &old
	a.crossed = []*x509.Certificate{newWithOld, oldWithNew}
	return nil
}

func cross(subject, by signer) (*x509.Certificate, error) {
	template := *subject.cert
	template.SerialNumber = newSerial(newUnique())
	template.AuthorityKeyId = by.cert.SubjectKeyId
	return sign(&template, by, subject.key.Public())
}

// ESTIssued returns every certificate that the EST server issued to device, in order.
func (c *Cloud) ESTIssued(device string) []*x509.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.estCA.issued[device])
}

// ESTCount returns what device has asked the EST server for.
func (c *Cloud) ESTCount(device string) ESTCount {
	c.mu.Lock()
	defer c.mu.Unlock()
	return *c.estCA.count(device)
}

func (a *estCA) count(device string) *ESTCount {
	n := a.counts[device]
	if n == nil {
		n = &ESTCount{}
		a.counts[device] = n
	}
	return n
}

// arrivedEST counts a request of device.
func (c *Cloud) arrivedEST(a *estCA, device string, body []byte, again bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := a.count(device)
	if again {
		n.Reenrolled++
	} else {
		n.Enrolled++
	}
	if a.requests[device] == nil {
		a.requests[device] = map[[32]byte]bool{}
	}
	a.requests[device][sha256.Sum256(body)] = true
	n.Requests = len(a.requests[device])
	if time.Now().Before(a.earliest[device]) {
		n.Early++
	}
}

// refusedEST counts an answer without a certificate, and remembers how long device was asked to wait.
func (c *Cloud) refusedEST(a *estCA, device string, status int, wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if wait > 0 {
		a.earliest[device] = time.Now().Add(wait)
	}
	if status == http.StatusAccepted {
		a.count(device).Pending++
		return
	}
	a.count(device).Refused++
}

// issued counts a certificate for a device that presented chain.
func (n *ESTCount) issued(chain []*x509.Certificate, cert *x509.Certificate) {
	n.Issued++
	switch {
	case len(chain) == 0:
	case bytes.Equal(chain[0].RawSubjectPublicKeyInfo, cert.RawSubjectPublicKeyInfo):
		n.Renewed++
	default:
		n.Rekeyed++
	}
}

// intermediates are the CA's own issuing certificates.
func (a *estCA) intermediates() []*x509.Certificate {
	all := []*x509.Certificate{a.now.issuing.cert}
	if a.before != nil {
		all = append(all, a.before.issuing.cert)
	}
	return all
}

// authorities is what cacerts serves, in no helpful order.
func (a *estCA) authorities() []*x509.Certificate {
	all := []*x509.Certificate{a.now.issuing.cert}
	all = append(all, a.crossed...)
	all = append(all, a.now.root.cert)
	if a.before != nil {
		all = append(all, a.before.root.cert, a.before.issuing.cert)
	}
	return all
}
