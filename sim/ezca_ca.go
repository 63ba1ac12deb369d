package sim

import (
	"crypto"
	"crypto/sha1"
	"crypto/x509"
	"encoding/hex"
	"slices"
	"strings"
	"time"
)

// ezca is EZCA's authority and its books. The cloud's mutex guards it, but for service and names.
type ezca struct {
	service *service
	names   EZCATemplate
	ca      *estCA // of REST and EST alike
	domains []*ezcaDomain
	tokens  map[string]bool      // one-use tokens that are not used up
	seen    map[string]time.Time // jti of certificates' tokens
	counts  map[string]*EZCACount
}

// EZCACount is what a device has asked EZCA for, by REST.
type EZCACount struct {
	Requested, Renewals      int         // requests for a certificate by bearer token, by certificate; whatever the answer
	Issued, Renewed, Rekeyed int         // certificates: for a bearer token, for the same key, for another
	Refused                  int         // requests for a certificate without one
	Early                    int         // that came before the time that EZCA had named
	Others                   int         // requests of other kinds that named the device
	Arrivals                 []time.Time // of the requests for a certificate
	earliest                 time.Time
}

func newEZCA(c *Cloud) *ezca {
	return &ezca{
		service: &service{name: "ezca", host: EZCAHost, serve: c.serveEZCA},
		names:   EZCATemplate{CA: newGUID(), Template: newGUID()},
		tokens:  map[string]bool{}, seen: map[string]time.Time{}, counts: map[string]*EZCACount{},
	}
}

// found makes the authority.
func (e *ezca) found(p Policy) (err error) {
	newKey := newP384
	if p.RSAIssuer {
		newKey = newRSA
	}
	e.ca, err = newESTCA("ezca", "Sim EZCA", func(name string) (hierarchy, error) { return newHierarchyOf(name, newKey) })
	if err == nil {
		e.ca.weather = func(t Temper) ESTTemper { return t.EZCA.EST }
	}
	return err
}

// EZCARoots returns the roots of EZCA's CA, the newest first.
func (c *Cloud) EZCARoots() []*x509.Certificate { return c.estRoots(c.ezca.ca) }

// EZCAIssuers returns the issuing CA of EZCA and its root, and those from before a rollover.
func (c *Cloud) EZCAIssuers() []*x509.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ezca.ca.authorities()
}

// EZCARollover gives EZCA's CA a new root and a new issuing CA of the same names. Its EST address serves the
// cross-certificates.
func (c *Cloud) EZCARollover() error { return c.rollover(c.ezca.ca) }

// EZCAIssued returns every certificate that EZCA issued to device, by REST and EST, in order.
func (c *Cloud) EZCAIssued(device string) []*x509.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.ezca.ca.issued[device])
}

// EZCARevoke revokes every certificate that device has from EZCA. IoT Hub and DPS do not look at revocations.
func (c *Cloud) EZCARevoke(device string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.ezca.ca.issued[device] {
		c.ezca.revoke(c, x)
	}
}

// revoke needs c.mu to be held.
func (e *ezca) revoke(c *Cloud, x *x509.Certificate) {
	e.ca.revoked[x.SerialNumber.String()] = true
	c.note("ezca", Revoked, x.Subject.CommonName, "serial "+x.SerialNumber.Text(16))
	if d := c.devices[x.Subject.CommonName]; d != nil && c.temper.EZCA.DisableRevoked {
		d.disabled = true
		d.drop()
	}
}

// EZCACount returns what device has asked EZCA for by REST. What it has asked the EST address for says EZCAESTCount.
func (c *Cloud) EZCACount(device string) EZCACount {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := *c.ezca.count(device)
	n.Arrivals = slices.Clone(n.Arrivals)
	return n
}

// EZCAESTCount returns what device has asked EZCA's EST address for.
func (c *Cloud) EZCAESTCount(device string) ESTCount {
	c.mu.Lock()
	defer c.mu.Unlock()
	return *c.ezca.ca.count(device)
}

func (e *ezca) count(device string) *EZCACount {
	n := e.counts[device]
	if n == nil {
		n = &EZCACount{}
		e.counts[device] = n
	}
	return n
}

// EZCAToken makes a bearer token that is good for one certificate of any device, and for questions until then. It is
// what a technician hands over to a device in a file.
func (c *Cloud) EZCAToken() string {
	token := randomHex(32)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ezca.tokens[token] = true
	return token
}

// EZCABootstrap certifies the public key of a device as if its factory's station had asked EZCA. The chain is leaf,
// issuing CA.
func (c *Cloud) EZCABootstrap(device string, public crypto.PublicKey, life time.Duration) ([]*x509.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	subject, err := parseSubject("CN=" + device)
	if err != nil {
		return nil, err
	}
	wish := &ezcaWish{subject: subject, usage: defaultUsage(public), purposes: []string{oidClientAuth}, life: life, public: public}
	leaf, err := c.signEZCA(wish, EZCATemper{}, EZCAGood)
	if err != nil {
		return nil, err
	}
	return []*x509.Certificate{leaf, c.ezca.ca.now.issuing.cert}, nil
}

// ezcaThumbprint is how EZCA names a certificate: SHA-1 of it in upper-case hexadecimal digits.
func ezcaThumbprint(x *x509.Certificate) string {
	sum := sha1.Sum(x.Raw)
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

// find returns the certificate of that thumbprint, or nil. The caller holds the cloud's mutex.
func (e *ezca) find(thumbprint string) *x509.Certificate {
	for _, all := range e.ca.issued {
		for _, x := range all {
			if ezcaThumbprint(x) == thumbprint {
				return x
			}
		}
	}
	return nil
}
