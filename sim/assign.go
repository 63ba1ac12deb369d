package sim

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// operations are those of the DPS: the newest few of each device.
type operations map[string][]*registration

// remembered is how many operations of a device the DPS can be asked for. How long Azure keeps them is not documented.
const remembered = 16

func (o operations) add(op *registration) {
	name := strings.ToLower(op.name)
	all := append(o[name], op)
	o[name] = all[max(0, len(all)-remembered):]
}

func (o operations) find(registration, id string) *registration {
	for _, op := range o[strings.ToLower(registration)] {
		if op.id == id {
			return op
		}
	}
	return nil
}

// assign registers the device at the hub and issues its certificate. The caller holds c.mu.
func (c *Cloud) assign(op *registration) result {
	now := stamp7(time.Now())
	state := &stateBody{
		RegistrationID:         op.name,
		CreatedDateTimeUTC:     now,
		LastUpdatedDateTimeUTC: now,
		Etag:                   base64.StdEncoding.EncodeToString([]byte(newEtag())),
	}
	e := c.decides(op)
	if c.temper.FailedBy == 400207 || e == nil {
		state.Status, state.ErrorCode, state.ErrorMessage = "failed", 400207, "Custom allocation failed with status code: 400"
		return result{status: 200, failed: true, body: marshal(operationBody{op.id, "failed", state})}
	}
	known := c.devices[e.deviceID(op.name)] != nil
	d := c.place(e.deviceID(op.name))
	if !known {
		d.twin.begin(e.entry.rest["initialTwin"])
	}
	if err := c.admitAtHub(state, d, op, e); err != nil {
		return refuse(500001, err.Error())
	}
	d.edited()
	if end := c.temper.EndsAs; end != "" {
		state := &stateBody{RegistrationID: op.name, Status: end}
		return result{status: 200, failed: true, body: marshal(operationBody{op.id, end, state})}
	}
	state.AssignedHub, state.DeviceID, state.Payload = HubHost, d.id, e.Payload
	state.Status, state.Substatus = "assigned", "initialAssignment"
	if op.claim.version.since(profileSince) {
		state.ConnectionProfile = c.policy.ConnectionProfile
	}
	if op.claim.version == oldPreview {
		state.TrustBundle = c.bundle()
	}
	c.remember(op, state)
	c.note("dps", Assigned, op.name, "device "+d.id)
	return result{status: 200, body: marshal(operationBody{op.id, "assigned", state})}
}

// decides finds who decides about a device now: its enrollment may have gone since it registered.
func (c *Cloud) decides(op *registration) *Enrollment {
	if op.proof.key == nil {
		return c.enrollment(op.name, op.proof.chain)
	}
	for _, e := range c.enrollments {
		if e.same(op.proof.enrollment) {
			return e
		}
	}
	return nil
}

// remember puts the state on record, for those who look it up: without what is told only once.
func (c *Cloud) remember(op *registration, state *stateBody) {
	kept := *state
	kept.IssuedCertificateChain, kept.IssuedClientCertificate, kept.TPM = nil, "", nil
	name := strings.ToLower(op.name)
	if old := c.states[name]; old != nil {
		kept.CreatedDateTimeUTC, state.CreatedDateTimeUTC = old.CreatedDateTimeUTC, old.CreatedDateTimeUTC
	}
	c.states[name] = &kept
}

// admitAtHub lets the hub accept what the device has shown, or what it gets.
func (c *Cloud) admitAtHub(state *stateBody, d *device, op *registration, e *Enrollment) error {
	who := &x509Body{EnrollmentGroupID: e.Group}
	switch {
	case op.proof.tpm:
		key := newSecret(32)
		a := c.activated[strings.ToLower(op.name)]
		blob, err := wrapKey(a.ek, a.srk, key)
		if err != nil {
			return err
		}
		d.auth = Auth{Keys: [][]byte{key}}
		state.TPM = &tpmResultBody{blob}
	case op.proof.key != nil:
		keys := c.keys(e, op.claim)
		if len(keys) == 0 { // an individual enrollment that stands before the group whose key it was
			keys = [][]byte{op.proof.key}
		}
		d.auth = Auth{Keys: keys}
		state.SymmetricKey = who
	default:
		d.auth = Auth{CA: op.proof.chain[len(op.proof.chain)-1]}
		if e.Certificate != nil {
			d.auth = Auth{Thumbprints: []string{thumbprint(e.Certificate)}}
		}
		if e.Secondary != nil {
			d.auth.Thumbprints = append(d.auth.Thumbprints, thumbprint(e.Secondary))
		}
		state.X509 = who
	}
	return c.certifyInto(state, d, op, e)
}

// certifyInto answers a CSR. The certificate names the device as the hub knows it; where that differs from the
// registration ID, Azure's documentation does not say which one it bears.
func (c *Cloud) certifyInto(state *stateBody, d *device, op *registration, e *Enrollment) error {
	if op.wish.request == nil {
		return nil
	}
	if e.NoPolicy {
		state.IssuedCertificateChain = json.RawMessage("null")
		return nil
	}
	chain, err := c.issue(d, op.wish.request)
	if err != nil {
		return err
	}
	d.auth = Auth{}
	if op.claim.version == oldPreview {
		if c.policy.LeafOnly {
			chain = chain[:1]
		}
		state.IssuedClientCertificate = encodePEM(chain...)
	} else {
		state.IssuedCertificateChain = marshal(encodeChain(chain))
	}
	c.note("dps", Issued, d.id, "serial "+chain[0].SerialNumber.Text(16))
	return nil
}

// bundle is what the abandoned preview sent along: the roots that a device should trust.
func (c *Cloud) bundle() *bundleBody {
	root := c.pki.serverRoot
	now := stamp7(time.Now())
	all := []bundleCertificate{{encodePEM(root), *newInfo(root)}}
	return &bundleBody{Certificates: all, ID: "sim", CreatedDateTime: now, LastModifiedTime: now, Etag: newEtag()}
}

// begin is what an enrollment desires of a new device: the twin is the device's own from then on. What the service API
// took is well-formed as JSON; what is no twin desires nothing.
func (t *twin) begin(initial json.RawMessage) {
	var in struct {
		Properties struct {
			Desired json.RawMessage `json:"desired"`
		} `json:"properties"`
	}
	if json.Unmarshal(initial, &in) != nil || in.Properties.Desired == nil {
		return
	}
	if members, err := parsePatch(in.Properties.Desired); err == nil {
		t.desired.apply(members)
	}
}

func (e *Enrollment) deviceID(registration string) string {
	if e.DeviceID != "" {
		return e.DeviceID
	}
	return registration
}

// dpsVersions are the API versions that the DPS knows for devices.
var dpsVersions = []version{"2017-11-15", "2018-04-01", "2018-09-01-preview", "2018-11-01", "2019-01-15", "2019-03-31", "2021-06-01",
	"2021-10-01", oldPreview, "2025-07-01-preview", "2026-11-01", "2026-11-02-preview"}

// knows reports whether a service has that API version. That others are refused is documented, with which words is not.
func (c *Cloud) knows(all []version, v version) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.policy.AnyVersion || slices.Contains(all, v)
}
