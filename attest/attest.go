// Package attest verifies, on a machine that need not have a TPM or a network, what hardware says of where a key was
// born and that it cannot leave.
package attest

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/devid-agent/devid-agent/keys"
)

// Grade is how much evidence proves.
type Grade string

// The grades, best first.
const (
	// Proven: a TPM 2.0 that its manufacturer certified says that it made the key and that it cannot leave.
	Proven Grade = "tpm-proven"
	// Unproven: the same is said by an attestation key of which nobody has proven that it lives in a TPM.
	Unproven Grade = "tpm-unproven"
	// Reported: a PKCS#11 module says it, and signs nothing.
	Reported Grade = "pkcs11-reported"
	// None: a check failed.
	None Grade = "none"
)

// Grades lists the grades that evidence can have, best first.
var Grades = []Grade{Proven, Unproven, Reported}

// AtLeast reports whether g is as good as want.
func (g Grade) AtLeast(want Grade) bool {
	for _, better := range Grades {
		if g == better {
			return true
		}
		if better == want {
			return false
		}
	}
	return false
}

// Question is what the verifier knows, and what it asks for.
type Question struct {
	Nonce  []byte         // that it gave to the device
	Roots  *x509.CertPool // TPM manufacturers that it trusts; nil: endorsement certificates are not looked at
	Secret *Secret        // of a challenge that it gave to the device; nil where it gave none
	Answer *keys.Answer   // to that challenge
	// Request is a certificate request (DER) that must be for this key and carry this evidence; nil: none is.
	Request []byte
	Now     time.Time // time.Now when zero
}

// Check is one thing that was looked at.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"` // what was seen, or what is wrong
}

// Verdict is what became of the evidence.
type Verdict struct {
	OK     bool    `json:"ok"`
	Grade  Grade   `json:"grade"`
	Words  string  `json:"words"`           // the grade as a person would say it
	Key    string  `json:"key,omitempty"`   // SHA-256 of the SubjectPublicKeyInfo, hex
	Maker  string  `json:"maker,omitempty"` // of the TPM, as its endorsement certificate says
	Checks []Check `json:"checks"`
}

// Parse reads an evidence file, JSON or CBOR as are all these files, and refuses what this release does not know.
func Parse(b []byte) (keys.Evidence, error) {
	var e keys.Evidence
	if err := decode(b, &e); err != nil {
		return keys.Evidence{}, fmt.Errorf("evidence: %w", err)
	}
	return e, nil
}

// ParseChallenge reads a challenge file.
func ParseChallenge(b []byte) (keys.Challenge, error) {
	var c keys.Challenge
	if err := decode(b, &c); err != nil {
		return keys.Challenge{}, fmt.Errorf("challenge: %w", err)
	}
	return c, nil
}

// ParseAnswer reads the answer to a challenge.
func ParseAnswer(b []byte) (keys.Answer, error) {
	var a keys.Answer
	if err := decode(b, &a); err != nil {
		return keys.Answer{}, fmt.Errorf("answer: %w", err)
	}
	return a, nil
}

// largest is many times what a file of ours holds.
const largest = 256 << 10

func decode(b []byte, to any) error {
	switch {
	case len(b) > largest:
		return fmt.Errorf("%d bytes are too many", len(b))
	case isCBOR(b):
		return decodeCBOR(b, to)
	}
	return decodeJSON(b, to)
}

func decodeJSON(b []byte, to any) error {
	var v struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	if v.Version != keys.EvidenceVersion {
		return fmt.Errorf("written in format %d, this release reads %d", v.Version, keys.EvidenceVersion)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something after its end")
	}
	return nil
}

// Verify looks at the evidence with nothing but what q knows. The error is that of the first check that fails; the
// verdict has all checks up to there.
func Verify(e keys.Evidence, q Question) (Verdict, error) {
	v := &Verdict{Grade: None, Checks: []Check{}}
	err := v.verify(e, q)
	if err != nil {
		v.Grade, v.Words = None, "this evidence proves nothing: "+err.Error()
		return *v, err
	}
	v.OK = true
	return *v, nil
}

func (v *Verdict) verify(e keys.Evidence, q Question) error {
	if err := v.check("version", fmt.Sprintf("format %d", e.Version), version(e)); err != nil {
		return err
	}
	if err := v.check("nonce", "it is the verifier's", sameNonce(e, q)); err != nil {
		return err
	}
	key, err := x509.ParsePKIXPublicKey(e.PublicKey)
	sum := sha256.Sum256(e.PublicKey)
	v.Key = hex.EncodeToString(sum[:])
	if err := v.check("public key", "SHA-256 "+v.Key, err); err != nil {
		return err
	}
	if q.Request != nil {
		if err := v.check("certificate request", "it is for this key and carries this evidence", checkRequest(q.Request, e)); err != nil {
			return err
		}
	}
	if e.TPM != nil {
		return v.tpm(e, key, q)
	}
	return v.token(e, key)
}

// check notes what became of one check, and returns err with its name.
func (v *Verdict) check(name, seen string, err error) error {
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
		v.Checks = append(v.Checks, Check{Name: name, Detail: err.Error()})
		return err
	}
	v.Checks = append(v.Checks, Check{Name: name, OK: true, Detail: seen})
	return nil
}

func version(e keys.Evidence) error {
	switch {
	case e.Version != keys.EvidenceVersion:
		return fmt.Errorf("format %d, this release knows %d", e.Version, keys.EvidenceVersion)
	case e.Kind == keys.TPMCertify && e.TPM != nil && e.Token == nil:
		return nil
	case e.Kind == keys.TokenReported && e.Token != nil && e.TPM == nil:
		return nil
	}
	return fmt.Errorf("kind %q does not say what the evidence holds", e.Kind)
}

func sameNonce(e keys.Evidence, q Question) error {
	if err := keys.CheckNonce(q.Nonce); err != nil {
		return err
	}
	if !bytes.Equal(e.Nonce, q.Nonce) {
		return errors.New("the evidence is an answer to another nonce: it may be an old one")
	}
	return nil
}
