package sim

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// entry is what the service API keeps beside an enrollment, and tells.
type entry struct {
	etag             string
	created, updated time.Time
	rest             map[string]json.RawMessage // members that mean nothing here, as they came
	srk              string                     // of a TPM, as it came
	references       [2]string                  // names of CAs
}

func newEntry() *entry {
	now := time.Now()
	return &entry{etag: newEtag(), created: now, updated: now}
}

// The members of "Individual Enrollment - Create Or Update" and "Enrollment Group - Create Or Update" that mean
// something here; the rest is kept. linkNames say which credential policy issues certificates, by API version.
type (
	enrollmentBody struct {
		RegistrationID     string           `json:"registrationId"`
		EnrollmentGroupID  string           `json:"enrollmentGroupId"`
		DeviceID           string           `json:"deviceId"`
		Attestation        *attestationBody `json:"attestation"`
		ProvisioningStatus string           `json:"provisioningStatus"`
		IotHubs            []string         `json:"iotHubs"`
		IotHubHostName     string           `json:"iotHubHostName"`
	}
	attestationBody struct {
		Type         string           `json:"type"`
		TPM          *tpmBody         `json:"tpm,omitempty"`
		X509         *x509Attestation `json:"x509,omitempty"`
		SymmetricKey *keysBody        `json:"symmetricKey,omitempty"`
	}
	x509Attestation struct {
		ClientCertificates  *certificatePair `json:"clientCertificates,omitempty"`
		SigningCertificates *certificatePair `json:"signingCertificates,omitempty"`
		CAReferences        *referencePair   `json:"caReferences,omitempty"`
	}
	certificatePair struct {
		Primary   *certificateWithInfo `json:"primary,omitempty"`
		Secondary *certificateWithInfo `json:"secondary,omitempty"`
	}
	certificateWithInfo struct {
		Certificate string    `json:"certificate,omitempty"`
		Info        *infoX509 `json:"info,omitempty"`
	}
	referencePair struct {
		Primary   string `json:"primary,omitempty"`
		Secondary string `json:"secondary,omitempty"`
	}
)

var (
	previewLink = []string{"credentialPolicyName"}
	stableLink  = []string{"namespaceName", "certificateAuthorityName", "certificatePolicyName"}

	ownMembers  = []string{"registrationId", "enrollmentGroupId", "deviceId", "attestation", "provisioningStatus"}
	readOnly    = []string{"etag", "createdDateTimeUtc", "lastUpdatedDateTimeUtc", "registrationState"}
	keptMembers = []string{"optionalDeviceInformation", "capabilities", "iotHubHostName", "initialTwin", "reprovisionPolicy", "allocationPolicy",
		"iotHubs", "customAllocationDefinition"}
)

// linkNames are the members that link a credential policy in that version.
func linkNames(v version) []string {
	switch {
	case v.since("2026-11-01"):
		return stableLink
	case v.since("2025-07-01"):
		return previewLink
	}
	return nil
}

// registrationID is the form of the IDs, which do not tell small letters from capitals ("IoT Hub Device Provisioning
// Service terminology").
var registrationID = regexp.MustCompile(`^[A-Za-z0-9\-._:]{0,127}[A-Za-z0-9\-]$`)

// parseEnrollment reads what a program wants an enrollment to be. The caller holds c.mu.
func (c *Cloud) parseEnrollment(v version, group bool, id string, body []byte) (*Enrollment, error) {
	var b enrollmentBody
	var members map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(body, &b), json.Unmarshal(body, &members)); err != nil {
		return nil, fmt.Errorf("the body is not JSON: %w", err)
	}
	e := &Enrollment{Registration: b.RegistrationID, DeviceID: b.DeviceID, entry: newEntry()}
	name := b.RegistrationID
	if group {
		e.Group, name = b.EnrollmentGroupID, b.EnrollmentGroupID
		e.Registration = ""
	}
	switch {
	case !strings.EqualFold(name, id):
		return nil, fmt.Errorf("the ID %q is not that of the path", name)
	case !registrationID.MatchString(id):
		return nil, fmt.Errorf("the ID %q is not one", id)
	case b.DeviceID != "" && (group || !deviceID.MatchString(b.DeviceID)):
		return nil, fmt.Errorf("deviceId %q", b.DeviceID)
	case !slices.Contains([]string{"", "enabled", "disabled"}, b.ProvisioningStatus):
		return nil, fmt.Errorf("provisioningStatus %q", b.ProvisioningStatus)
	case b.Attestation == nil:
		return nil, errors.New("attestation is missing")
	}
	for _, hub := range append(b.IotHubs, b.IotHubHostName) {
		if hub != "" && !strings.EqualFold(hub, HubHost) {
			return nil, fmt.Errorf("the hub %s is not linked", hub)
		}
	}
	e.Disabled = b.ProvisioningStatus == "disabled"
	if err := errors.Join(e.keepMembers(v, members), c.parseAttestation(e, b.Attestation)); err != nil {
		return nil, err
	}
	return e, nil
}

// keepMembers takes the members that mean nothing here, and those that link a credential policy.
func (e *Enrollment) keepMembers(v version, members map[string]json.RawMessage) error {
	link := linkNames(v)
	linked := 0
	kept := map[string]json.RawMessage{}
	for name, raw := range members {
		if bytes.Equal(raw, []byte("null")) {
			continue
		}
		switch {
		case slices.Contains(ownMembers, name), slices.Contains(readOnly, name):
		case slices.Contains(keptMembers, name):
			kept[name] = raw
		case slices.Contains(link, name) && text(raw) != "":
			linked++
			kept[name] = raw
		case slices.Contains(link, name):
		default:
			return fmt.Errorf("member %q in api-version %s", name, v)
		}
	}
	if linked != 0 && linked != len(link) {
		return fmt.Errorf("%s must come together", strings.Join(link, ", "))
	}
	e.NoPolicy = linked == 0
	e.entry.rest = kept
	return nil
}

// parseAttestation reads exactly the mechanism that type names.
func (c *Cloud) parseAttestation(e *Enrollment, a *attestationBody) error {
	switch {
	case a.Type == "tpm" && a.TPM != nil && !e.group():
		ek, err := base64.StdEncoding.Strict().DecodeString(a.TPM.EndorsementKey)
		if err == nil {
			_, err = parsePublic(ek)
		}
		e.EndorsementKey, e.entry.srk = ek, a.TPM.StorageRootKey
		return err
	case a.Type == "symmetricKey":
		keys := keysBody{}
		if a.SymmetricKey != nil {
			keys = *a.SymmetricKey
		}
		auth, err := keys.auth()
		if err != nil {
			return err
		}
		e.SymmetricKey, e.SecondaryKey = auth.Keys[0], auth.Keys[1]
		return nil
	case a.Type == "x509" && a.X509 != nil:
		return c.parseX509(e, a.X509)
	}
	return fmt.Errorf("attestation of type %q", a.Type)
}

// parseX509 reads leaves of individual enrollments, and CAs of groups: verified ones by name, or intermediate ones whose
// chain must lead to a verified one ("X.509 certificate attestation").
func (c *Cloud) parseX509(e *Enrollment, a *x509Attestation) (err error) {
	switch {
	case a.ClientCertificates != nil && !e.group():
		e.Certificate, e.Secondary, err = a.ClientCertificates.parse()
	case a.SigningCertificates != nil && a.CAReferences == nil && e.group():
		e.unproven = true
		e.CA, e.SecondCA, err = a.SigningCertificates.parse()
		if err == nil && !e.CA.IsCA {
			err = errors.New("a signing certificate that is not one of a CA")
		}
	case a.CAReferences != nil && e.group():
		e.entry.references = [2]string{a.CAReferences.Primary, a.CAReferences.Secondary}
		if e.CA, err = c.reference(a.CAReferences.Primary); err == nil && a.CAReferences.Secondary != "" {
			e.SecondCA, err = c.reference(a.CAReferences.Secondary)
		}
	default:
		err = errors.New("x509 has not the certificates that such an enrollment needs")
	}
	return err
}

func (c *Cloud) reference(name string) (*x509.Certificate, error) {
	a := c.dpsCAs.find(name)
	if a == nil || !a.verified {
		return nil, fmt.Errorf("there is no verified CA %q", name)
	}
	return a.cert, nil
}

func (p *certificatePair) parse() (primary, secondary *x509.Certificate, err error) {
	if p.Primary == nil {
		return nil, nil, errors.New("no primary certificate")
	}
	if primary, err = parseCA(p.Primary.Certificate); err == nil && p.Secondary != nil && p.Secondary.Certificate != "" {
		secondary, err = parseCA(p.Secondary.Certificate)
	}
	return primary, secondary, err
}

// describe is the enrollment as the service API tells it; keys and certificates only where secrets are asked for.
func (c *Cloud) describe(e *Enrollment, secrets bool) map[string]any {
	b := map[string]any{}
	for name, raw := range maps.All(e.entry.rest) {
		b[name] = raw
	}
	b["attestation"] = e.mechanism(secrets)
	b["provisioningStatus"] = "enabled"
	if e.Disabled {
		b["provisioningStatus"] = "disabled"
	}
	b["etag"] = e.entry.etag
	b["createdDateTimeUtc"], b["lastUpdatedDateTimeUtc"] = stamp7(e.entry.created), stamp7(e.entry.updated)
	if e.group() {
		b["enrollmentGroupId"] = e.Group
		return b
	}
	b["registrationId"] = e.Registration
	if e.DeviceID != "" {
		b["deviceId"] = e.DeviceID
	}
	if state := c.states[strings.ToLower(e.Registration)]; state != nil {
		b["registrationState"] = state.bare()
	}
	return b
}

// mechanism is how the devices show who they are.
func (e *Enrollment) mechanism(secrets bool) *attestationBody {
	switch {
	case e.EndorsementKey != nil:
		return &attestationBody{Type: "tpm", TPM: &tpmBody{base64.StdEncoding.EncodeToString(e.EndorsementKey), e.entry.srk}}
	case e.SymmetricKey != nil:
		a := &attestationBody{Type: "symmetricKey", SymmetricKey: &keysBody{}}
		if secrets {
			a.SymmetricKey.PrimaryKey, a.SymmetricKey.SecondaryKey = first2([][]byte{e.SymmetricKey, e.SecondaryKey}, base64.StdEncoding.EncodeToString)
		}
		return a
	}
	x := &x509Attestation{}
	switch {
	case e.entry.references[0] != "":
		x.CAReferences = &referencePair{e.entry.references[0], e.entry.references[1]}
	case e.CA != nil:
		x.SigningCertificates = newPair(e.CA, e.SecondCA, secrets)
	case e.Certificate != nil:
		x.ClientCertificates = newPair(e.Certificate, e.Secondary, secrets)
	}
	return &attestationBody{Type: "x509", X509: x}
}

func newPair(primary, secondary *x509.Certificate, whole bool) *certificatePair {
	p := &certificatePair{Primary: newWithInfo(primary, whole)}
	if secondary != nil {
		p.Secondary = newWithInfo(secondary, whole)
	}
	return p
}

func newWithInfo(x *x509.Certificate, whole bool) *certificateWithInfo {
	c := &certificateWithInfo{Info: newInfo(x)}
	if whole {
		c.Certificate = base64.StdEncoding.EncodeToString(x.Raw)
	}
	return c
}
