package sim

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// deviceName is what the hub takes for a device or, behind a slash, a module ("Understand the identity registry").
var deviceName = regexp.MustCompile(`^[A-Za-z0-9\-:.+%_#*?!(),=@;$']{1,128}(/[A-Za-z0-9\-:.+%_#*?!(),=@;$']{1,128})?$`)

// controlDevice is a device as the control API shows it.
type controlDevice struct {
	ID           string   `json:"id"`
	Disabled     bool     `json:"disabled,omitempty"`
	Online       bool     `json:"online"`
	Auth         string   `json:"auth"` // certificateAuthority, selfSigned or sas
	Keys         [][]byte `json:"keys,omitempty"`
	Thumbprints  []string `json:"thumbprints,omitempty"`
	Received     int      `json:"received"`          // telemetry messages on record
	Pending      int      `json:"pending,omitempty"` // messages to it
	Certificates []string `json:"certificates,omitempty"`
}

// controlAuth is what a device shall present, as the control API takes it.
type controlAuth struct {
	Thumbprints []string `json:"thumbprints"`
	CA          string   `json:"ca"`   // PEM
	Keys        [][]byte `json:"keys"` // base64
	SAS         bool     `json:"sas"`  // make a key, where none is given
}

func (c *Cloud) listDevices(*http.Request, []byte) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := []controlDevice{}
	for _, id := range slices.Sorted(maps.Keys(c.devices)) {
		all = append(all, c.describeDevice(c.devices[id]))
	}
	return all, nil
}

func (c *Cloud) showDevice(r *http.Request, _ []byte) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.devices[r.PathValue("id")]
	if d == nil {
		return nil, unknownDevice(r.PathValue("id"))
	}
	return c.describeDevice(d), nil
}

// describeDevice needs c.mu to be held.
func (c *Cloud) describeDevice(d *device) controlDevice {
	out := controlDevice{ID: d.id, Disabled: d.disabled, Online: d.session != nil, Auth: "certificateAuthority", Keys: d.auth.Keys,
		Thumbprints: d.auth.Thumbprints, Received: len(c.journal.received[d.id]), Pending: len(d.letters)}
	switch {
	case len(d.auth.Keys) > 0:
		out.Auth = "sas"
	case len(d.auth.Thumbprints) > 0:
		out.Auth = "selfSigned"
	}
	for _, i := range c.issued[d.id] {
		out.Certificates = append(out.Certificates, i.leaf.SerialNumber.Text(16))
	}
	for _, x := range slices.Concat(c.estCA.issued[d.id], c.ezca.ca.issued[d.id]) {
		out.Certificates = append(out.Certificates, x.SerialNumber.Text(16))
	}
	return out
}

func (c *Cloud) putDevice(r *http.Request, body []byte) (any, error) {
	id := r.PathValue("id")
	if !deviceName.MatchString(id) {
		return nil, &Refusal{Code: 400004, Message: fmt.Sprintf("%q is no device ID", id)}
	}
	var given controlAuth
	if err := decodeControl(body, &given); err != nil {
		return nil, err
	}
	auth := Auth{Thumbprints: given.Thumbprints, Keys: given.Keys}
	for _, t := range given.Thumbprints {
		if !anySHA1.MatchString(t) && !anySHA256.MatchString(t) {
			return nil, fmt.Errorf("thumbprint %q is not 40 or 64 hexadecimal digits", t)
		}
	}
	if given.SAS && len(auth.Keys) == 0 {
		auth.Keys = [][]byte{[]byte(randomHex(32)), []byte(randomHex(32))}
	}
	var err error
	if auth.CA, err = optionalCertificate(given.CA); err != nil {
		return nil, err
	}
	c.CreateDevice(id, auth)
	return c.showDevice(r, nil)
}

// optionalCertificate reads the first certificate of a PEM text; an empty text has none.
func optionalCertificate(text string) (*x509.Certificate, error) {
	if text == "" {
		return nil, nil
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("not a certificate in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

// withDevice does f to the device that the path names.
func (c *Cloud) withDevice(f func(id string)) controlCall {
	return func(r *http.Request, _ []byte) (any, error) {
		id := r.PathValue("id")
		c.mu.Lock()
		known := c.devices[id] != nil
		c.mu.Unlock()
		if !known {
			return nil, unknownDevice(id)
		}
		f(id)
		return nil, nil
	}
}

// revokeAll revokes every certificate that the device has, of the hub, of the EST server and of EZCA.
func (c *Cloud) revokeAll(id string) {
	c.Revoke(id)
	c.ESTRevoke(id)
	c.EZCARevoke(id)
}

func (c *Cloud) showTwin(r *http.Request, _ []byte) (any, error) {
	document := c.Twin(r.PathValue("id"))
	if document == nil {
		return nil, unknownDevice(r.PathValue("id"))
	}
	return json.RawMessage(document), nil
}

func (c *Cloud) patchDesired(r *http.Request, body []byte) (any, error) {
	version, err := c.SetDesired(r.PathValue("id"), body)
	return map[string]int{"version": version}, err
}

// postMethod invokes a direct method; the body is its payload.
func (c *Cloud) postMethod(r *http.Request, body []byte) (any, error) {
	wait, err := duration(r, "timeout")
	if err != nil {
		return nil, fmt.Errorf("timeout: %w", err)
	}
	a, err := c.Invoke(r.Context(), r.PathValue("id"), r.PathValue("method"), body, wait)
	return map[string]any{"status": a.Status, "payload": a.Payload}, err
}

// controlMessage is a message to a device, as the control API takes it. Text is for people who type it.
type controlMessage struct {
	ID         string            `json:"id"`
	Properties map[string]string `json:"properties"`
	Text       string            `json:"text"`
	Body       []byte            `json:"base64"`
	Life       string            `json:"life"`
	Input      string            `json:"input"`
}

func (c *Cloud) postMessage(r *http.Request, body []byte) (any, error) {
	var m controlMessage
	if err := decodeControl(body, &m); err != nil {
		return nil, err
	}
	out := ToDevice{ID: m.ID, Properties: m.Properties, Body: m.Body, Input: m.Input}
	if m.Text != "" {
		out.Body = []byte(m.Text)
	}
	if m.Life != "" {
		life, err := time.ParseDuration(m.Life)
		if err != nil || life <= 0 {
			return nil, fmt.Errorf("life %q is no duration as 10m", m.Life)
		}
		out.Life = life
	}
	id, err := c.SendC2D(strings.TrimSuffix(r.PathValue("id"), "/"), out)
	return map[string]string{"id": id}, err
}
