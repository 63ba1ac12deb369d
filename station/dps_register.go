package station

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
)

// ParseEndorsementKey returns a TPM's endorsement key as DPS wants it: the TPM2B_PUBLIC in base64. It takes that, or
// the bytes that tpm2_createek and tpm2_readpublic write (TPM 2.0 Part 2, 12.2.5).
func ParseEndorsementKey(b []byte) (string, error) {
	public := b
	if text, err := base64.StdEncoding.DecodeString(string(b)); err == nil {
		public = text
	}
	if len(public) < 2+8 || int(binary.BigEndian.Uint16(public)) != len(public)-2 {
		return "", errors.New("this is no TPM2B_PUBLIC")
	}
	if alg := binary.BigEndian.Uint16(public[2:]); alg != 0x0001 && alg != 0x0023 { // TPM_ALG_RSA, TPM_ALG_ECC
		return "", fmt.Errorf("a public area of the algorithm %#04x, where RSA or ECC belongs", alg)
	}
	return base64.StdEncoding.EncodeToString(public), nil
}

// DPSRegistrar enrolls the devices of an order one by one, each with its own certificate.
type DPSRegistrar struct {
	DPS      *DPS
	Template Enrollment // what all have in common: hub, allocation, CSR policy
}

// Register implements Registrar. An enrollment that exists for another certificate gets this one: DPS gives the old one
// not back, so that it cannot be kept as the second.
func (r DPSRegistrar) Register(ctx context.Context, device string, chain []*x509.Certificate) error {
	e := r.Template
	e.RegistrationID = device
	own := &CertificateInfo{Certificate: identity.EncodeChain(chain[:1])}
	e.Attestation = Attestation{Type: AttestX509, X509: &X509Attestation{Client: &Certificates{Primary: own}}}
	if _, err := r.DPS.Enroll(ctx, e); !errors.Is(err, ErrTaken) {
		return err
	}
	there, err := r.DPS.Show(ctx, Individual, device)
	if err != nil {
		return err
	}
	if there.Attestation.X509 == nil || there.Attestation.X509.Client == nil {
		return fault.AskOperator(fmt.Errorf("register %s: its enrollment exists, with attestation by %s", device, there.Attestation.Type), "delete it first")
	}
	if old := there.Attestation.X509.Client.Primary; old != nil && old.Info != nil && strings.EqualFold(old.Info.SHA256, Thumbprint(chain[0])) {
		return nil
	}
	there.Attestation = e.Attestation
	_, err = r.DPS.Enroll(ctx, there)
	return err
}
