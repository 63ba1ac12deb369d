package station

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/devid-agent/devid-agent/fault"
)

// Enrollment is an individual enrollment or a group in DPS, in the words of its REST interface (azure-rest-api-specs,
// deviceprovisioningservices data-plane). It is a group where EnrollmentGroupID is set.
type Enrollment struct {
	RegistrationID    string `json:"registrationId,omitempty"`
	EnrollmentGroupID string `json:"enrollmentGroupId,omitempty"`
	DeviceID          string `json:"deviceId,omitempty"` // individual enrollments only; the registration ID when empty

	Attestation Attestation   `json:"attestation"`
	Status      string        `json:"provisioningStatus,omitempty"` // enabled or disabled
	Hub         string        `json:"iotHubHostName,omitempty"`
	Hubs        []string      `json:"iotHubs,omitempty"`
	Allocation  string        `json:"allocationPolicy,omitempty"` // hashed, geoLatency, static, custom
	ETag        string        `json:"etag,omitempty"`
	State       *Registration `json:"registrationState,omitempty"` // of individual enrollments, read only

	// What an update sends back as it came.
	Reprovision  json.RawMessage `json:"reprovisionPolicy,omitempty"`
	Capabilities json.RawMessage `json:"capabilities,omitempty"`
	InitialTwin  json.RawMessage `json:"initialTwin,omitempty"`
	Webhook      json.RawMessage `json:"customAllocationDefinition,omitempty"`
	Information  json.RawMessage `json:"optionalDeviceInformation,omitempty"`

	CSRPolicy
}

// CSRPolicy is who signs the requests that devices send with their registration. CredentialPolicy is of api-version
// 2025-07-01-preview, the three others of 2026-11-01; whether that is deployed is not confirmed.
type CSRPolicy struct {
	CredentialPolicy string `json:"credentialPolicyName,omitempty"`
	Namespace        string `json:"namespaceName,omitempty"`
	Authority        string `json:"certificateAuthorityName,omitempty"`
	Policy           string `json:"certificatePolicyName,omitempty"`
}

// Attestation is how devices show DPS who they are.
type Attestation struct {
	Type         string           `json:"type"` // x509, tpm or symmetricKey
	TPM          *TPMAttestation  `json:"tpm,omitempty"`
	X509         *X509Attestation `json:"x509,omitempty"`
	SymmetricKey *KeyPair         `json:"symmetricKey,omitempty"`
}

// Kinds of Attestation.
const (
	AttestX509      = "x509"
	AttestTPM       = "tpm"
	AttestSymmetric = "symmetricKey"
)

// TPMAttestation has the endorsement key as a TPM2B_PUBLIC in base64.
type TPMAttestation struct {
	EndorsementKey string `json:"endorsementKey"`
}

// X509Attestation has one of its members: the certificate of one device, a CA, or the name of a CA that is verified.
type X509Attestation struct {
	Client     *Certificates `json:"clientCertificates,omitempty"`
	Signing    *Certificates `json:"signingCertificates,omitempty"`
	References *CANames      `json:"caReferences,omitempty"`
}

// Certificates are those that are taken.
type Certificates struct {
	Primary   *CertificateInfo `json:"primary,omitempty"`
	Secondary *CertificateInfo `json:"secondary,omitempty"`
}

// CertificateInfo has the certificate on the way to DPS, and what DPS says of it on the way back.
type CertificateInfo struct {
	Certificate string `json:"certificate,omitempty"` // PEM
	Info        *struct {
		Subject  string `json:"subjectName"`
		SHA256   string `json:"sha256Thumbprint"`
		NotAfter string `json:"notAfterUtc"`
	} `json:"info,omitempty"`
}

// CANames are names under which CA certificates are uploaded in DPS.
type CANames struct {
	Primary   string `json:"primary,omitempty"`
	Secondary string `json:"secondary,omitempty"`
}

// Registration is where a device has been assigned to.
type Registration struct {
	Status   string `json:"status,omitempty"`
	Hub      string `json:"assignedHub,omitempty"`
	DeviceID string `json:"deviceId,omitempty"`
	Updated  string `json:"lastUpdatedDateTimeUtc,omitempty"`
	Message  string `json:"errorMessage,omitempty"`
}

// ID is the registration ID, or that of the group.
func (e Enrollment) ID() string {
	if e.EnrollmentGroupID != "" {
		return e.EnrollmentGroupID
	}
	return e.RegistrationID
}

// Versions of the service interface. The first is the one that every DPS has.
const (
	DPSAPI        = "2021-10-01"
	DPSAPIPreview = "2025-07-01-preview" // has credentialPolicyName
	DPSAPINew     = "2026-11-01"         // has namespaceName and its two companions
)

// Version is the oldest version of the service interface that knows p.
func (p CSRPolicy) Version() string {
	switch {
	case p.Namespace != "" || p.Authority != "" || p.Policy != "":
		return DPSAPINew
	case p.CredentialPolicy != "":
		return DPSAPIPreview
	}
	return DPSAPI
}

// DPS is the enrollment lists of a Device Provisioning Service.
type DPS struct {
	service *service
	version string
}

// NewDPS asks nothing yet. version is DPSAPI when empty.
func NewDPS(c Connection, version string, client Client) *DPS {
	if version == "" {
		version = DPSAPI
	}
	return &DPS{service: c.service("dps", "take a policy that may write enrollments: provisioningserviceowner, or one with EnrollmentWrite", client), version: version}
}

// Close hangs up.
func (d *DPS) Close() { d.service.Close() }

// Kind is which of the two lists of a DPS is meant.
type Kind string

// The two lists.
const (
	Individual Kind = "enrollments"
	Group      Kind = "enrollmentGroups"
)

func (e Enrollment) kind() Kind {
	if e.EnrollmentGroupID != "" {
		return Group
	}
	return Individual
}

func (d *DPS) call(method string, k Kind, id string) call {
	return call{method: method, path: "/" + string(k) + "/" + escape(id), query: url.Values{"api-version": {d.version}}, header: map[string]string{}}
}

// Enroll makes the enrollment; ErrTaken where there is one. With an ETag it replaces the one of that ETag, and no other.
func (d *DPS) Enroll(ctx context.Context, e Enrollment) (Enrollment, error) {
	c := d.call(http.MethodPut, e.kind(), e.ID())
	if e.ETag != "" {
		c.header["If-Match"] = quoted(e.ETag)
	}
	e.State = nil // DPS's own
	c.body = e
	made, err := d.enrollment(ctx, c)
	if err != nil {
		return Enrollment{}, hinted(fmt.Errorf("enroll %s: %w", e.ID(), err), "devid-station dps show "+e.ID()+", or replace it with --replace")
	}
	return made, nil
}

func (d *DPS) enrollment(ctx context.Context, c call) (Enrollment, error) {
	a, err := d.service.ask(ctx, c)
	if err != nil {
		return Enrollment{}, err
	}
	var e Enrollment
	return e, d.service.read(a, &e)
}

// Show returns the enrollment; ErrAbsent where there is none of that name. Symmetric keys are left out by DPS.
func (d *DPS) Show(ctx context.Context, k Kind, id string) (Enrollment, error) {
	e, err := d.enrollment(ctx, d.call(http.MethodGet, k, id))
	if err != nil {
		return Enrollment{}, hinted(fmt.Errorf("show %s: %w", id, err), "devid-station dps list; for a group add --group")
	}
	return e, nil
}

// Keys returns the symmetric keys of the enrollment. They are secrets.
func (d *DPS) Keys(ctx context.Context, k Kind, id string) (KeyPair, error) {
	c := d.call(http.MethodPost, k, id)
	c.path += "/attestationmechanism"
	a, err := d.service.ask(ctx, c)
	if err != nil {
		return KeyPair{}, fmt.Errorf("keys of %s: %w", id, err)
	}
	var m Attestation
	if err := d.service.read(a, &m); err != nil {
		return KeyPair{}, err
	}
	if m.SymmetricKey == nil || m.SymmetricKey.Primary == "" {
		return KeyPair{}, fault.As(fault.Permanent, fmt.Errorf("keys of %s: it has none: attestation by %s", id, m.Type))
	}
	return *m.SymmetricKey, nil
}

// Delete removes the enrollment; ErrAbsent where there is none of that name. Devices stay where they are assigned.
func (d *DPS) Delete(ctx context.Context, k Kind, id string) error {
	c := d.call(http.MethodDelete, k, id)
	c.header["If-Match"] = "*"
	if _, err := d.service.ask(ctx, c); err != nil {
		return hinted(fmt.Errorf("delete %s: %w", id, err), "devid-station dps list; for a group add --group")
	}
	return nil
}

// pageSize is how many enrollments one page has at most.
const pageSize = 100

// List returns all enrollments of that kind.
func (d *DPS) List(ctx context.Context, k Kind) ([]Enrollment, error) {
	all := []Enrollment{}
	for next, more := "", true; more; more = next != "" {
		c := call{method: http.MethodPost, path: "/" + string(k) + "/query", query: url.Values{"api-version": {d.version}},
			header: map[string]string{"x-ms-max-item-count": strconv.Itoa(pageSize)},
			body:   map[string]string{"query": "SELECT * FROM " + string(k)}}
		if next != "" {
			c.header["x-ms-continuation"] = next
		}
		a, err := d.service.ask(ctx, c)
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", k, err)
		}
		var page []Enrollment
		if err := d.service.read(a, &page); err != nil {
			return nil, err
		}
		all = append(all, page...)
		before := next
		if next = a.Header.Get("x-ms-continuation"); next != "" && next == before {
			return nil, fault.As(fault.Permanent, fmt.Errorf("list %s: dps: the same page again", k))
		}
	}
	return all, nil
}
