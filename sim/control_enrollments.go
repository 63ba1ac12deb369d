package sim

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
)

// controlEnrollment is an enrollment as the control API takes and shows it.
type controlEnrollment struct {
	ID             string          `json:"id,omitempty"`   // registration ID, or the group's name
	Group          bool            `json:"group"`          // whether it is a group
	Kind           string          `json:"kind,omitempty"` // x509, symmetric or tpm
	Device         string          `json:"device,omitempty"`
	Certificate    string          `json:"certificate,omitempty"` // PEM: exactly this leaf
	CA             string          `json:"ca,omitempty"`          // PEM: of a group
	SymmetricKey   []byte          `json:"symmetricKey,omitempty"`
	EndorsementKey []byte          `json:"endorsementKey,omitempty"` // TPM2B_PUBLIC
	MakeKey        bool            `json:"makeKey,omitempty"`        // make a symmetric key
	Disabled       bool            `json:"disabled,omitempty"`
	NoPolicy       bool            `json:"noPolicy,omitempty"`
	Payload        json.RawMessage `json:"payload,omitempty"`
}

func (c *Cloud) listEnrollments(*http.Request, []byte) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := []controlEnrollment{}
	for _, e := range c.enrollments {
		all = append(all, e.describe())
	}
	return all, nil
}

func (e *Enrollment) describe() controlEnrollment {
	out := controlEnrollment{ID: e.name(), Group: e.group(), Kind: "x509", Device: e.DeviceID, SymmetricKey: e.SymmetricKey,
		EndorsementKey: e.EndorsementKey, Disabled: e.Disabled, NoPolicy: e.NoPolicy, Payload: e.Payload}
	switch {
	case e.EndorsementKey != nil:
		out.Kind = "tpm"
	case e.SymmetricKey != nil:
		out.Kind = "symmetric"
	}
	if e.Certificate != nil {
		out.Certificate = armour(e.Certificate)
	}
	if e.CA != nil {
		out.CA = armour(e.CA)
	}
	return out
}

// putEnrollment adds or replaces the enrollment that the path names. Without a certificate, key or CA it is individual,
// for any device of that name whose chain is verified.
func (c *Cloud) putEnrollment(r *http.Request, body []byte) (any, error) {
	var given controlEnrollment
	if err := decodeControl(body, &given); err != nil {
		return nil, err
	}
	e, err := given.enrollment(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	c.Enroll(e)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.enrollmentNamed(r.PathValue("id")).describe(), nil
}

func (g controlEnrollment) enrollment(id string) (Enrollment, error) {
	e := Enrollment{DeviceID: g.Device, SymmetricKey: g.SymmetricKey, EndorsementKey: g.EndorsementKey, Disabled: g.Disabled,
		NoPolicy: g.NoPolicy, Payload: g.Payload}
	if g.MakeKey && e.SymmetricKey == nil {
		e.SymmetricKey = []byte(randomHex(32))
	}
	var err error
	if e.Certificate, err = optionalCertificate(g.Certificate); err != nil {
		return e, err
	}
	if e.CA, err = optionalCertificate(g.CA); err != nil {
		return e, err
	}
	if !g.Group {
		e.Registration = id
	} else {
		e.Group = id
	}
	return e, e.sound()
}

// sound says what contradicts itself in an enrollment, or nil.
func (e *Enrollment) sound() error {
	kinds := 0
	for _, is := range []bool{e.Certificate != nil, e.CA != nil, e.SymmetricKey != nil, e.EndorsementKey != nil} {
		if is {
			kinds++
		}
	}
	switch {
	case kinds > 1:
		return errors.New("an enrollment attests in one way: by certificate, ca, symmetricKey or endorsementKey")
	case e.group() && e.CA == nil && e.SymmetricKey == nil:
		return errors.New("a group needs ca or symmetricKey")
	case e.group() && e.DeviceID != "":
		return errors.New("a group has no device ID of its own")
	case !e.group() && e.CA != nil:
		return errors.New("ca is for groups")
	}
	return nil
}

func (c *Cloud) deleteEnrollment(r *http.Request, _ []byte) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.enrollmentNamed(r.PathValue("id"))
	if e == nil {
		return nil, unknownEnrollment(r.PathValue("id"))
	}
	c.enrollments = slices.DeleteFunc(c.enrollments, func(o *Enrollment) bool { return o == e })
	return nil, nil
}

func (c *Cloud) switchEnrollment(off bool) controlCall {
	return func(r *http.Request, _ []byte) (any, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		e := c.enrollmentNamed(r.PathValue("id"))
		if e == nil {
			return nil, unknownEnrollment(r.PathValue("id"))
		}
		e.Disabled = off
		return nil, nil
	}
}

func (c *Cloud) expireEnrollment(r *http.Request, _ []byte) (any, error) {
	return nil, c.ExpireEnrollment(r.PathValue("id"))
}
