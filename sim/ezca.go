package sim

import (
	"crypto/tls"
	"net/http"
	"time"
)

// EZCAHost is the name by which devices know EZCA, Keytos' certificate authority: its REST interface under /api, and its
// EST address /EST/{ca}/{template}/{region}/.well-known/est.
const EZCAHost = "portal.ezca.example"

// The points of EZCA. They name the device by the common name of its request, or of its certificate.
const (
	AtEZCA       Point = "ezca"        // a request for a certificate arrived, not yet looked at
	AtEZCAInfo   Point = "ezca-info"   // any other request arrived, not yet looked at
	AtEZCAIssued Point = "ezca-issued" // the certificate is issued, the answer not yet sent
)

// Revoked is the event of a certificate that EZCA revoked.
const Revoked Kind = "revoked"

// EZCATemplate names where EZCA's certificates come from.
type EZCATemplate struct{ CA, Template string }

// EZCAAddr is the host:port where EZCA listens, "" after New.
func (c *Cloud) EZCAAddr() string { return c.addr(c.ezca.service) }

// EZCA names the one CA of this EZCA and its one template, an SSL template for at most 365 days.
func (c *Cloud) EZCA() EZCATemplate { return c.ezca.names }

// EZCAESTPath is the path of EZCA's EST address, to which /cacerts and so on are added.
func (c *Cloud) EZCAESTPath() string {
	return "/EST/" + c.ezca.names.CA + "/" + c.ezca.names.Template + "/eastus/.well-known/est"
}

// serveEZCA is one connection to EZCA. A certificate is asked for, since EST needs one; REST does not look at it.
func (c *Cloud) serveEZCA(l *link) {
	if !l.secure(c.ezcaConfig()) {
		return
	}
	serveHTTP(l.tls, &ezcaHandler{cloud: c, link: l, est: &estHandler{cloud: c, link: l, ca: c.ezca.ca}})
	c.log("ezca", Disconnected, l.name, "")
}

func (c *Cloud) ezcaConfig() *tls.Config {
	config := c.estConfig(c.ezca.ca)
	config.Time = func() time.Time { return time.Now().Add(c.weather().EZCA.ClockOffset) }
	return config
}

// ezcaHandler serves one connection.
type ezcaHandler struct {
	cloud *Cloud
	link  *link
	est   http.Handler
}
