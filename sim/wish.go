package sim

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

const (
	// csrSince is the first day of the API versions whose registration takes a CSR; older ones ignore it.
	csrSince = "2025-07-01"
	// oldPreview is the version that took a CSR under another name, and answered with another shape.
	oldPreview = "2021-11-01-preview"
	// profileSince is the first day of the API versions that tell how to talk to the hub.
	profileSince = "2026-11-02"
)

// Transports, as events name them.
const (
	byMQTT      = "mqtt"
	byWebSocket = "websocket"
	byHTTPS     = "https"
)

// wish is what a device asks for when it registers.
type wish struct {
	payload json.RawMessage
	csr     bool
	request *x509.CertificateRequest // nil: no certificate is asked for
}

// parseWish reads the body of a registration, which may be empty by MQTT. What a TPM presents it leaves in q. The
// caller holds c.mu.
func (c *Cloud) parseWish(q *claim, body []byte) (*wish, error) {
	if len(bytes.TrimSpace(body)) == 0 && q.transport != byHTTPS {
		return &wish{}, nil
	}
	var in struct {
		RegistrationID *string         `json:"registrationId"`
		Payload        json.RawMessage `json:"payload"`
		CSR            *string         `json:"csr"`
		ClientCSR      *string         `json:"clientCertificateCsr"`
		TPM            *tpmBody        `json:"tpm"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, fmt.Errorf("cannot decode the registration: %w", err)
	}
	switch {
	case in.RegistrationID == nil && q.transport == byHTTPS:
		return nil, errors.New("registrationId is missing")
	case in.RegistrationID != nil && !strings.EqualFold(*in.RegistrationID, q.registration):
		return nil, fmt.Errorf("registrationId %q is not the authenticated one", *in.RegistrationID)
	}
	if q.transport == byHTTPS {
		q.tpm = in.TPM
	}
	w := &wish{payload: in.Payload, csr: in.CSR != nil && q.version.since(csrSince)}
	if err := w.checkPayload(); err != nil {
		return nil, err
	}
	der, err := q.decodeCSR(in.CSR, in.ClientCSR)
	if err == nil && der != nil {
		w.request, err = c.policy.check(der, q.registration)
	}
	return w, err
}

func (w *wish) checkPayload() error {
	if w.payload == nil {
		return nil
	}
	var object *map[string]any
	if err := json.Unmarshal(w.payload, &object); err != nil {
		return fmt.Errorf("payload is not an object: %w", err)
	}
	return nil
}

// decodeCSR returns the request of the field that the API version has, nil where there is none.
func (q *claim) decodeCSR(csr, clientCSR *string) ([]byte, error) {
	switch {
	case csr != nil && q.version.since(csrSince):
		return decodeCSR(*csr)
	case clientCSR != nil && q.version == oldPreview:
		block, rest := pem.Decode([]byte(*clientCSR))
		if block == nil || len(bytes.TrimSpace(rest)) > 0 {
			return nil, errors.New("clientCertificateCsr is not one PEM block")
		}
		return block.Bytes, nil
	}
	return nil, nil
}

// Registration is what a device asked the DPS for.
type Registration struct {
	Attestation string          // "x509", "symmetricKey" or "tpm"
	Transport   string          // "mqtt", "websocket" or "https"
	Version     string          // api-version
	Payload     json.RawMessage // nil: none
	CSR         bool            // it asked for a certificate
}

func (q *claim) asked(p *proof, w *wish) Registration {
	return Registration{p.attestation(), q.transport, string(q.version), w.payload, w.request != nil}
}

func (p *proof) attestation() string {
	switch {
	case p.tpm:
		return "tpm"
	case p.key != nil:
		return "symmetricKey"
	}
	return "x509"
}

// LastRegistration is what an enrolled device asked for when it registered the last time, false where it never did.
func (c *Cloud) LastRegistration(registration string) (Registration, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.asked[strings.ToLower(registration)]
	return r, ok
}
