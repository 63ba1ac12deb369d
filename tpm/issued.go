package tpm

import (
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/fault"
)

// issued is an authenticationKey of the Device Provisioning Service, apart. Its fields are what is inside each TPM2B.
type issued struct {
	credential []byte // TPMS_ID_OBJECT, for the endorsement key
	secret     []byte // TPM2B_ENCRYPTED_SECRET: its seed
	duplicate  []byte // TPM2B_PRIVATE, for the storage root key
	seed       []byte // TPM2B_ENCRYPTED_SECRET: its seed
	public     []byte // TPMT_PUBLIC of the HMAC key
}

// parseIssued takes the six structures of an authenticationKey apart (azure-iot-sdk-node, provisioning/tpm.ts). The
// last one, TPM2B_DATA with the name of a URI, is nobody's business; neither is what may follow it.
func parseIssued(b []byte) (issued, error) {
	a := answer{rest: b}
	sent := issued{credential: a.sized(), secret: a.sized(), duplicate: a.sized(), seed: a.sized(), public: a.sized()}
	a.sized()
	if a.short {
		return issued{}, fmt.Errorf("the authentication key of %d bytes ends too early", len(b))
	}
	_, err := newMAC(sent.public, nil)
	return sent, err
}

// newMAC refuses keys that do not make HMACs of SHA-256.
func newMAC(area, private []byte) (blob, error) {
	public, err := parsePublic(area)
	if err != nil {
		return blob{}, fmt.Errorf("public area: %w", err)
	}
	if a := public.ObjectAttributes; !isHMAC(public) || !a.SignEncrypt || a.Restricted || a.FixedTPM || a.FixedParent {
		return blob{}, errors.New("public area: it is not that of an HMAC-SHA256 key to be imported")
	}
	name, err := tpm2.ObjectName(&public)
	if err != nil {
		return blob{}, fmt.Errorf("public area: %w", err)
	}
	return blob{public: public, private: private, name: *name}, nil
}

func isHMAC(public tpm2.TPMTPublic) bool {
	detail, err := public.Parameters.KeyedHashDetail()
	if err != nil || detail.Scheme.Scheme != tpm2.TPMAlgHMAC {
		return false
	}
	scheme, err := detail.Scheme.Details.HMAC()
	return err == nil && scheme.HashAlg == tpm2.TPMAlgSHA256
}

// labelIssued labels what the TPM answers to parts of an authenticationKey. Some answer TPM_RC_FAILURE to what does not
// decrypt, and fail no more than before: then they still know the root.
func (t *session) labelIssued(doing string, err error, root object) error {
	foreign := oneOf(err, tpm2.TPMRCIntegrity, tpm2.TPMRCValue, tpm2.TPMRCSize, tpm2.TPMRCInsufficient, tpm2.TPMRCECCPoint, tpm2.TPMRCBinding)
	if oneOf(err, tpm2.TPMRCFailure) {
		_, _, dead := t.readPublic(root.handle)
		foreign = dead == nil
	}
	if foreign {
		return fault.As(fault.Permanent, fmt.Errorf("%s: the authentication key is not for this TPM, or damaged: %w", doing, err))
	}
	return label(doing, err)
}

// labelLocked is for a key that has a password, which nobody has told us.
func labelLocked(err error) error {
	if isWrongPassword(err) {
		return fault.As(fault.Permanent, fmt.Errorf("the key in the authentication key has a password: %w", err))
	}
	return err
}
