package station

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha1" // EZCA names certificates by it; it protects nothing
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/web"
)

// EZCAURL is the public EZCA. There are others: https://eu.ezca.io, https://au.ezca.io, and private ones.
const EZCAURL = "https://portal.ezca.io"

// CATemplate is a template of an authority from which we may request certificates.
type CATemplate struct {
	CAID         string `json:"CAID"`
	CA           string `json:"CAFriendlyName"`
	TemplateID   string `json:"TemplateID"`
	Type         string `json:"CATemplateType"`
	MaxDays      int    `json:"MaxCertLifeDays"`
	Restrictions string `json:"DomainRestrictions"`
	KeyType      string `json:"CAKeyType"`
	Hash         string `json:"CAHashing"`
}

// Domain is a registered name, for us the ID of a device.
type Domain struct {
	Domain     string   `json:"Domain"`
	CAID       string   `json:"CAID"`
	TemplateID string   `json:"TemplateID"`
	Owners     []Person `json:"Owners"`
	Requesters []Person `json:"Requesters"`
}

// Person is a user, a group or an application in Entra.
type Person struct {
	ObjectID string `json:"ObjectId"`
	Name     string `json:"FriendlyName"`
	Type     string `json:"ObjectType"` // User, where nobody says otherwise; other words are not confirmed
	Valid    bool   `json:"isValid"`
}

// Listed is a certificate that EZCA knows to be ours. The names of its fields beside Thumbprint are not confirmed.
type Listed struct {
	Subject    string `json:"SubjectName"`
	Thumbprint string `json:"Thumbprint"`
	Expires    string `json:"ExpiryDate"`
	CAID       string `json:"CAID"`
	TemplateID string `json:"TemplateID"`
}

// CA is the authority and the template that are meant.
type CA struct{ ID, Template string }

var guid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// Check says what is wrong with the two, or nil.
func (c CA) Check() error {
	if !guid.MatchString(c.ID) || !guid.MatchString(c.Template) {
		return fault.AskOperator(errors.New("ezca: authority and template are named by their GUIDs"), "devid-station ezca cas lists them; give --ca-id and --template")
	}
	return nil
}

// EZCA is the REST interface of EZCA for those with an Entra token.
type EZCA struct{ service *service }

// NewEZCA asks nothing yet. base is https://HOST[:PORT]; a path is cut off, as EZCA's own clients do.
func NewEZCA(base string, token Token, client Client) (*EZCA, error) {
	if base == "" {
		base = EZCAURL
	}
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, fault.AskOperator(fmt.Errorf("%q is no https URL", base), "write it as "+EZCAURL)
	}
	s := newService("ezca", "https://"+u.Host, client)
	s.rights = "the Entra identity may not do this at EZCA: have it made a requester of the domain, and look at the template's access"
	s.refusal = seeEZCA
	s.authorize = func(ctx context.Context) (string, error) {
		t, err := token(ctx)
		return "Bearer " + t, err
	}
	return &EZCA{s}, nil
}

// Close hangs up.
func (e *EZCA) Close() { e.service.Close() }

// CAs lists the templates that we may use.
func (e *EZCA) CAs(ctx context.Context) ([]CATemplate, error) {
	list := []CATemplate{}
	return list, e.get(ctx, "GetAvailableSSLCAs", nil, &list)
}

// Domains lists the names that are registered.
func (e *EZCA) Domains(ctx context.Context) ([]Domain, error) {
	list := []Domain{}
	return list, e.get(ctx, "GetMyDomains", nil, &list)
}

// maxPages ends a list that does not end.
const maxPages = 10_000

// List returns all certificates that are ours.
func (e *EZCA) List(ctx context.Context) ([]Listed, error) {
	all := []Listed{}
	for page := range maxPages {
		var some []Listed
		if err := e.get(ctx, "GetMyCertificatesV2Paginated", url.Values{"pageNumber": {strconv.Itoa(page)}}, &some); err != nil {
			return nil, err
		}
		if len(some) == 0 {
			return all, nil
		}
		all = append(all, some...)
	}
	return nil, fault.As(fault.Permanent, errors.New("ezca: GetMyCertificatesV2Paginated: the pages do not end"))
}

func (e *EZCA) get(ctx context.Context, what string, query url.Values, v any) error {
	a, err := e.service.ask(ctx, call{method: http.MethodGet, path: "/api/CA/" + what, query: query})
	if err != nil {
		return err
	}
	if err := decode(a, v); err != nil {
		return fmt.Errorf("ezca: %s: %w", what, err)
	}
	return nil
}

// DomainRequest is a name to be registered: who owns it, and who may request certificates for it.
type DomainRequest struct {
	CA         CA
	Domain     string
	Owners     []Person // people or groups: an application cannot own a domain
	Requesters []Person // applications, too
	Emails     []string
}

// Register registers a name; it is refused where it is registered. Nobody is taken from the token: an application's has
// no user in it.
func (e *EZCA) Register(ctx context.Context, r DomainRequest) (string, error) {
	if err := r.check(); err != nil {
		return "", err
	}
	body := map[string]any{"CAID": r.CA.ID, "TemplateID": r.CA.Template, "Domain": r.Domain, "Owners": r.Owners,
		"Requesters": r.Requesters, "RequestersOnly": []Person{}, "NotificationEmails": append([]string{}, r.Emails...)}
	a, err := e.service.ask(ctx, call{method: http.MethodPost, path: "/api/CA/RegisterNewDomain", body: body})
	if err != nil {
		return "", fmt.Errorf("register %s: %w", r.Domain, err)
	}
	said, err := decodeMessage(a)
	if err != nil {
		return "", fmt.Errorf("register %s: ezca: %w", r.Domain, err)
	}
	return said, nil
}

func (r DomainRequest) check() error {
	if err := r.CA.Check(); err != nil {
		return err
	}
	if r.Domain == "" || len(r.Owners) == 0 || len(r.Requesters) == 0 {
		return fault.AskOperator(errors.New("ezca: a domain has a name, owners and requesters"), "give --domain, --owner and --requester")
	}
	for _, p := range slices.Concat(r.Owners, r.Requesters) {
		if !guid.MatchString(p.ObjectID) {
			return fault.AskOperator(fmt.Errorf("ezca: %q is no object ID", p.ObjectID), "give the GUID of the user, group or application in Entra")
		}
	}
	return nil
}

// subjectAltName is a name of API V2: 2 is a DNS name, the tag of RFC 5280, 4.2.1.6.
type subjectAltName struct {
	SubjectAltType int
	ValueSTR       string
}

// Request asks for a certificate for the request r, valid for so many days. The chain is that of the device; EZCA may
// leave the root out. EZCA takes the names from the JSON, and from the request only the key.
func (e *EZCA) Request(ctx context.Context, ca CA, r *x509.CertificateRequest, n int) ([]*x509.Certificate, error) {
	if err := ca.Check(); err != nil {
		return nil, err
	}
	cn := r.Subject.CommonName
	body := map[string]any{"CAID": ca.ID, "TemplateID": ca.Template, "CSR": string(EncodeRequest(r.Raw)), "SubjectName": "CN=" + cn,
		"SubjectAltNames": namesOf(cn), "ValidityInDays": n, "SelectedLocation": "IoT Device",
		"EKUs": []string{oidClientAuth.String()}, "KeyUsages": keyUsages(r)}
	a, err := e.service.ask(ctx, call{method: http.MethodPost, path: "/api/CA/RequestSSLCertificateV2", body: body})
	if err != nil {
		return nil, fmt.Errorf("request a certificate for %s: %w", cn, err)
	}
	chain, err := issuedFor(a, r)
	if err != nil {
		return nil, fmt.Errorf("request a certificate for %s: ezca: %w", cn, err)
	}
	return chain, nil
}

// namesOf is the name once more as a DNS name, where it can be one: that of a module cannot.
func namesOf(cn string) []subjectAltName {
	if strings.Contains(cn, "/") {
		return nil
	}
	return []subjectAltName{{2, cn}}
}

// keyUsages are EZCA's words. Key encipherment means nothing for an EC key.
func keyUsages(r *x509.CertificateRequest) []string {
	if _, ec := r.PublicKey.(*ecdsa.PublicKey); ec {
		return []string{"Digital Signature"}
	}
	return []string{"Digital Signature", "Key Encipherment"}
}

// issuedFor takes nothing that is not for r: a certificate for another key or name would cut the device off.
func issuedFor(a *web.Answer, r *x509.CertificateRequest) ([]*x509.Certificate, error) {
	b, err := decodeChain(a)
	if err != nil {
		return nil, err
	}
	chain, err := identity.ParseChain(b)
	if err != nil {
		return nil, err
	}
	if err := CheckChain(chain, r.PublicKey); err != nil {
		return nil, fault.As(fault.Permanent, err)
	}
	leaf := chain[0]
	if got := leaf.Subject.CommonName; got != r.Subject.CommonName {
		return nil, fault.As(fault.Permanent, fmt.Errorf("the certificate is for %q", got))
	}
	if now := time.Now(); now.After(leaf.NotAfter) || now.Add(backdate).Before(leaf.NotBefore) {
		return nil, fault.AskOperator(fmt.Errorf("the certificate is valid from %s to %s", leaf.NotBefore.Local(), leaf.NotAfter.Local()), "check the clock of this machine")
	}
	return chain, nil
}

var thumbprint = regexp.MustCompile(`^[0-9a-fA-F]{40}$`)

// Revoke revokes the certificate with that thumbprint, SHA-1 in hex. IoT Hub looks at no list of revoked certificates:
// the device stays connected until it is disabled there.
func (e *EZCA) Revoke(ctx context.Context, ca CA, sha1hex string) (string, error) {
	if err := ca.Check(); err != nil {
		return "", err
	}
	text := strings.NewReplacer(":", "", " ", "").Replace(sha1hex)
	if !thumbprint.MatchString(text) {
		return "", fault.AskOperator(fmt.Errorf("%q is no thumbprint", sha1hex), "give the 40 hex digits of the SHA-1: devid-station ezca list")
	}
	body := map[string]string{"CAID": ca.ID, "TemplateID": ca.Template, "Thumbprint": strings.ToLower(text)}
	a, err := e.service.ask(ctx, call{method: http.MethodPost, path: "/api/CA/RevokeCertificateV2", body: body})
	if err != nil {
		return "", fmt.Errorf("revoke %s: %w", text, err)
	}
	said, err := decodeMessage(a)
	if err != nil {
		return "", fmt.Errorf("revoke %s: ezca: %w", text, err)
	}
	return said, nil
}

// EZCAThumbprint is how EZCA names a certificate: SHA-1 of its DER, in upper-case hex.
func EZCAThumbprint(c *x509.Certificate) string {
	h := sha1.Sum(c.Raw)
	return strings.ToUpper(hex.EncodeToString(h[:]))
}
