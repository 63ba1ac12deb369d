package sim

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// ezcaPage is how many certificates one page lists.
const ezcaPage = 20

var guid = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// ezcaObject is a person, a group or a program, as EZCA names them.
type ezcaObject struct {
	ObjectId, FriendlyName, ObjectType string
	IsValid                            bool `json:"isValid"`
}

// ezcaDomain is a name for which certificates are issued: a device's. Owners may change it, requesters may issue and
// revoke, and there are those who may only issue.
type ezcaDomain struct {
	CAID, TemplateID, Domain           string
	Owners, Requesters, RequestersOnly []ezcaObject
	NotificationEmails                 []string
}

// has reports whether p is one of those lists.
func (d *ezcaDomain) has(p principal, lists ...[]ezcaObject) bool {
	return slices.ContainsFunc(slices.Concat(lists...), func(o ezcaObject) bool { return strings.EqualFold(o.ObjectId, p.id) })
}

func (e *ezca) domain(name string) *ezcaDomain {
	for _, d := range e.domains {
		if strings.EqualFold(d.Domain, name) {
			return d
		}
	}
	return nil
}

// registerDomain takes a new name. Owners are people or groups, never a machine, and there is at least one; a name
// cannot be registered twice.
func (h *ezcaHandler) registerDomain(r *http.Request, body []byte) (any, error) {
	if _, err := h.person(r); err != nil {
		return nil, err
	}
	var d ezcaDomain
	if err := decodeEZCA(body, &d); err != nil {
		return nil, err
	}
	if err := h.here(d.CAID, d.TemplateID); err != nil {
		return nil, err
	}
	c := h.cloud
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ezca.count(d.Domain).Others++
	switch {
	case strings.TrimSpace(d.Domain) == "":
		return nil, &ezcaFailure{"Domain is empty"}
	case c.ezca.domain(d.Domain) != nil:
		return nil, &ezcaFailure{fmt.Sprintf("the domain %s is registered already", d.Domain)}
	case len(d.Owners) == 0:
		return nil, &ezcaFailure{"a domain needs an owner"}
	}
	for _, o := range slices.Concat(d.Owners, d.Requesters, d.RequestersOnly) {
		if !guid.MatchString(o.ObjectId) {
			return nil, &ezcaFailure{fmt.Sprintf("ObjectId %q is no object of the directory", o.ObjectId)}
		}
	}
	for _, o := range d.Owners {
		if c.entra.machine(o.ObjectId) {
			return nil, &ezcaFailure{fmt.Sprintf("%s is an application: owners must be users or groups", o.ObjectId)}
		}
	}
	c.ezca.domains = append(c.ezca.domains, &d)
	return apiResult{true, "the domain was registered"}, nil
}

// mayIssue says why p may not have a certificate for these names, or nil.
func (h *ezcaHandler) mayIssue(p principal, names []string) error {
	h.cloud.mu.Lock()
	defer h.cloud.mu.Unlock()
	for _, name := range names {
		d := h.cloud.ezca.domain(name)
		switch {
		case p.every:
		case d == nil:
			return &ezcaFailure{fmt.Sprintf("the domain %s is not registered", name)}
		case !d.has(p, d.Owners, d.Requesters, d.RequestersOnly):
			return &ezcaFailure{fmt.Sprintf("%s (%s) is no requester of the domain %s", p.name, p.id, name)}
		}
	}
	return nil
}

// domains lists those that the caller has to do with.
func (h *ezcaHandler) domains(r *http.Request, _ []byte) (any, error) {
	p, err := h.person(r)
	if err != nil {
		return nil, err
	}
	h.cloud.mu.Lock()
	defer h.cloud.mu.Unlock()
	mine := []*ezcaDomain{}
	for _, d := range h.cloud.ezca.domains {
		if p.every || d.has(p, d.Owners, d.Requesters, d.RequestersOnly) {
			mine = append(mine, d)
		}
	}
	return listed(mine), nil
}

// available lists the one template.
func (h *ezcaHandler) available(r *http.Request, _ []byte) (any, error) {
	if _, err := h.person(r); err != nil {
		return nil, err
	}
	return []any{h.cloud.ezca.describe()}, nil
}

func (h *ezcaHandler) oneCA(r *http.Request, _ []byte) (any, error) {
	if _, err := h.person(r); err != nil {
		return nil, err
	}
	if r.URL.Query().Get("caID") != h.cloud.ezca.names.CA {
		return []any{}, nil
	}
	return []any{h.cloud.ezca.describe()}, nil
}

func (h *ezcaHandler) authorities(r *http.Request, _ []byte) (any, error) {
	if _, err := h.person(r); err != nil {
		return nil, err
	}
	d := h.cloud.ezca.describe()
	d["CAType"], d["CATier"] = "PrivateCA", "SubordinateCA"
	return listed([]any{d}), nil
}

func (e *ezca) describe() map[string]any {
	keyType := "RSA 2048"
	if e.ca.now.issuing.cert.PublicKeyAlgorithm == x509.ECDSA {
		keyType = "ECDSA P-384"
	}
	return map[string]any{
		"CAID": e.names.CA, "CAFriendlyName": e.ca.name, "CATemplateType": "SSL Template", "TemplateID": e.names.Template,
		"KeyUsage": "Key Encipherment,Digital Signature", "MaxCertLifeDays": ezcaMaxDays, "DomainRestrictions": "",
		"CAKeyType": keyType, "CAHashing": "SHA256",
	}
}

// revokeOther revokes a certificate by thumbprint, for an owner or requester of its domain.
func (h *ezcaHandler) revokeOther(r *http.Request, body []byte) (any, error) {
	p, err := h.person(r)
	if err != nil {
		return nil, err
	}
	var b struct{ CAID, TemplateID, Thumbprint string }
	if err := decodeEZCA(body, &b); err != nil {
		return nil, err
	}
	if err := h.here(b.CAID, b.TemplateID); err != nil {
		return nil, err
	}
	if !anySHA1.MatchString(b.Thumbprint) {
		return nil, badEZCA("Thumbprint %q is not SHA-1 in 40 hexadecimal digits", b.Thumbprint)
	}
	c := h.cloud
	c.mu.Lock()
	defer c.mu.Unlock()
	x := c.ezca.find(strings.ToUpper(b.Thumbprint))
	if x == nil {
		return nil, &ezcaFailure{"no certificate with thumbprint " + b.Thumbprint}
	}
	if d := c.ezca.domain(x.Subject.CommonName); !p.every && (d == nil || !d.has(p, d.Owners, d.Requesters)) {
		return nil, &ezcaFailure{fmt.Sprintf("%s (%s) may not revoke for the domain %s", p.name, p.id, x.Subject.CommonName)}
	}
	return c.revokedEZCA(x)
}

// revokeSelf revokes the certificate in whose name the request comes.
func (h *ezcaHandler) revokeSelf(r *http.Request, _ []byte) (any, error) {
	x, err := h.certificateOf(r, h.cloud.weather().EZCA)
	if err != nil {
		return nil, err
	}
	h.cloud.mu.Lock()
	defer h.cloud.mu.Unlock()
	return h.cloud.revokedEZCA(x)
}

// revokedEZCA needs c.mu to be held.
func (c *Cloud) revokedEZCA(x *x509.Certificate) (any, error) {
	if c.ezca.ca.revoked[x.SerialNumber.String()] {
		return nil, &ezcaFailure{"the certificate is revoked already"}
	}
	c.ezca.count(x.Subject.CommonName).Others++
	c.ezca.revoke(c, x)
	return apiResult{true, "the certificate was revoked"}, nil
}

// certificates lists the caller's certificates, the oldest first. How EZCA names the members of this list is not
// documented.
func (h *ezcaHandler) certificates(r *http.Request, _ []byte) (any, error) {
	p, err := h.person(r)
	if err != nil {
		return nil, err
	}
	page, err := strconv.Atoi(r.URL.Query().Get("pageNumber"))
	if err != nil || page < 0 {
		return nil, badEZCA("pageNumber is %q", r.URL.Query().Get("pageNumber"))
	}
	all := h.cloud.listEZCA(p)
	from := min(page*ezcaPage, len(all))
	return all[from:min(from+ezcaPage, len(all))], nil
}

func (c *Cloud) listEZCA(p principal) []map[string]any {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []*x509.Certificate
	for device, some := range c.ezca.ca.issued {
		if d := c.ezca.domain(device); p.every || d != nil && d.has(p, d.Owners, d.Requesters, d.RequestersOnly) {
			all = append(all, some...)
		}
	}
	sort.Slice(all, func(i, k int) bool { return all[i].SerialNumber.Cmp(all[k].SerialNumber) < 0 })
	sort.SliceStable(all, func(i, k int) bool { return all[i].NotBefore.Before(all[k].NotBefore) })
	list := []map[string]any{}
	for _, x := range all {
		list = append(list, map[string]any{
			"CAID": c.ezca.names.CA, "TemplateID": c.ezca.names.Template, "SubjectName": x.Subject.String(),
			"Thumbprint": ezcaThumbprint(x), "SerialNumber": strings.ToUpper(x.SerialNumber.Text(16)),
			"DateIssued": x.NotBefore.UTC().Format(time.RFC3339), "ExpiryDate": x.NotAfter.UTC().Format(time.RFC3339),
			"Revoked": c.ezca.ca.revoked[x.SerialNumber.String()],
		})
	}
	return list
}
