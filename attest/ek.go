package attest

import (
	"bytes"
	"crypto/subtle"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/keys"
)

// endorsed looks for a reason to believe the attestation key: an endorsement certificate, and the answer to a
// challenge that only the TPM with both keys could give.
func (v *Verdict) endorsed(e keys.Evidence, ak *tpm2.TPMTPublic, firmware string, q Question) error {
	const claim = "it says that it was born in a TPM 2.0 and cannot leave, by an attestation key that nobody vouches for (AK unproven)"
	v.Grade, v.Words = Unproven, claim
	if q.Roots == nil {
		if q.Secret != nil || q.Answer != nil {
			return v.check("challenge", "", errors.New("it proves something only together with the roots of the TPM's manufacturer"))
		}
		return nil
	}
	certificate, err := endorsement(e.TPM, q)
	if err != nil {
		return v.check("endorsement certificate", "", err)
	}
	v.Maker = maker(certificate)
	_ = v.check("endorsement certificate", fmt.Sprintf("%s, issued by %s", v.Maker, certificate.Issuer), nil)
	if q.Secret == nil && q.Answer == nil {
		v.Words = claim + "; the endorsement certificate is genuine (" + v.Maker + "), but the attestation key is not tied to it: make a challenge"
		return nil
	}
	if err := v.check("challenge", "answered: the attestation key lives in the TPM of the endorsement certificate", answered(e.TPM, q)); err != nil {
		return err
	}
	v.Grade = Proven
	v.Words = fmt.Sprintf("born in a TPM 2.0 by %s (firmware %s), and cannot leave: proven by its endorsement certificate", v.Maker, firmware)
	return nil
}

// answered checks that the secret which was made for this pair of keys has come back.
func answered(t *keys.TPMEvidence, q Question) error {
	switch {
	case q.Secret == nil:
		return errors.New("there is an answer, and not the secret that it must show")
	case q.Answer == nil:
		return errors.New("there is a secret, and no answer that shows it")
	case !bytes.Equal(q.Secret.AKName, t.AKName) || !bytes.Equal(q.Answer.AKName, t.AKName):
		return errors.New("it was made for another attestation key")
	case !bytes.Equal(q.Secret.EK, t.EK):
		return errors.New("it was made for another endorsement key")
	case len(q.Secret.Secret) != secretSize || subtle.ConstantTimeCompare(q.Secret.Secret, q.Answer.Secret) != 1:
		return errors.New("the answer is wrong")
	}
	return nil
}

// endorsement returns the endorsement certificate, once it is clear that a manufacturer whom we trust issued it for
// the endorsement key.
func endorsement(t *keys.TPMEvidence, q Question) (*x509.Certificate, error) {
	if len(t.EKChain) == 0 {
		return nil, errors.New("the TPM has none")
	}
	ek, err := parsePublic(t.EK)
	if err != nil {
		return nil, fmt.Errorf("endorsement key: %w", err)
	}
	certificate, err := x509.ParseCertificate(t.EKChain[0])
	if err != nil {
		return nil, err
	}
	if err := isKey(ek, certificate.PublicKey); err != nil {
		return nil, fmt.Errorf("endorsement key: %w", err)
	}
	if err := decrypting(ek); err != nil {
		return nil, fmt.Errorf("endorsement key: %w", err)
	}
	return certificate, issued(certificate, t.EKChain[1:], q)
}

// decrypting says why the key is not one that opens a challenge only inside of its TPM.
func decrypting(ek *tpm2.TPMTPublic) error {
	a := ek.ObjectAttributes
	if !a.Restricted || !a.Decrypt || a.SignEncrypt {
		return errors.New("it is not a restricted decryption key")
	}
	return immovable(ek)
}

// Object identifiers of the TCG EK Credential Profile 2.5, 3.2.
var (
	certifiesEK     = asn1.ObjectIdentifier{2, 23, 133, 8, 1}
	subjectAltName  = asn1.ObjectIdentifier{2, 5, 29, 17}
	tpmManufacturer = asn1.ObjectIdentifier{2, 23, 133, 2, 1}
	tpmModel        = asn1.ObjectIdentifier{2, 23, 133, 2, 2}
	tpmVersion      = asn1.ObjectIdentifier{2, 23, 133, 2, 3}
)

func issued(c *x509.Certificate, above [][]byte, q Question) error {
	if c.IsCA {
		return errors.New("it is an authority's certificate, not an endorsement key's")
	}
	extended := len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) > 0
	if extended && !slices.ContainsFunc(c.UnknownExtKeyUsage, certifiesEK.Equal) {
		return fmt.Errorf("its extended key usage is not that of an endorsement key (%v)", certifiesEK)
	}
	intermediates := x509.NewCertPool()
	for i, der := range above {
		issuer, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("certificate %d above it: %w", i+1, err)
		}
		intermediates.AddCert(issuer)
	}
	now := q.Now
	if now.IsZero() {
		now = time.Now()
	}
	// The subject is empty and its alternative name critical, a directory name, which Go does not look at. We do.
	c.UnhandledCriticalExtensions = slices.DeleteFunc(c.UnhandledCriticalExtensions, subjectAltName.Equal)
	_, err := c.Verify(x509.VerifyOptions{Roots: q.Roots, Intermediates: intermediates, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err
}

// maker is manufacturer, model and version of the TPM as its endorsement certificate has them.
func maker(c *x509.Certificate) string {
	values := map[string]string{}
	for _, set := range directoryName(c) {
		for _, a := range set {
			values[a.Type.String()], _ = a.Value.(string)
		}
	}
	words := []string{vendor(values[tpmManufacturer.String()])}
	if m := values[tpmModel.String()]; m != "" {
		words = append(words, "model "+m)
	}
	if n := values[tpmVersion.String()]; n != "" {
		words = append(words, "version "+n)
	}
	return strings.Join(words, " ")
}

// directoryName is the directoryName of the subject's alternative name.
func directoryName(c *x509.Certificate) pkix.RDNSequence {
	for _, x := range c.Extensions {
		if !x.Id.Equal(subjectAltName) {
			continue
		}
		var names []asn1.RawValue
		if _, err := asn1.Unmarshal(x.Value, &names); err != nil {
			return nil
		}
		for _, n := range names {
			var rdn pkix.RDNSequence
			if n.Class != asn1.ClassContextSpecific || n.Tag != 4 {
				continue
			}
			if _, err := asn1.Unmarshal(n.Bytes, &rdn); err == nil {
				return rdn
			}
		}
	}
	return nil
}

// vendor is the manufacturer as four letters (id:494E5443 is INTC), or as it stands there.
func vendor(id string) string {
	if id == "" {
		return "an unnamed maker"
	}
	b, err := hex.DecodeString(strings.TrimPrefix(id, "id:"))
	b = bytes.TrimRight(b, "\x00 ")
	if err != nil || len(b) == 0 || slices.ContainsFunc(b, func(c byte) bool { return c < ' ' || c > '~' }) {
		return id
	}
	return string(b)
}
