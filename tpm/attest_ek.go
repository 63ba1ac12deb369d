package tpm

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"
)

// endorsement is the endorsement key of the TPM.
type endorsement struct {
	public   tpm2.TPMTPublic
	template *tpm2.TPMTPublic // what it is derived from, nil where the TPM keeps it
	handle   tpm2.TPMHandle   // where the TPM keeps it
	chain    [][]byte         // its certificate and those above it that the TPM holds, DER; none on a chip without
}

// certified are the NV indexes of endorsement key certificates (TCG EK Credential Profile 2.5, 2.2.1.4 and 2.2.1.5),
// each with the template of its key where that is the profile's default one: the other keys are used only where the
// TPM keeps them. An elliptic curve key comes first: it is derived in a tenth of a second, an RSA key in up to a minute.
var certified = []struct {
	index    tpm2.TPMHandle
	template *tpm2.TPMTPublic
}{
	{certifiedECC, &tpm2.ECCEKTemplate},
	{certifiedRSA, &tpm2.RSAEKTemplate},
	{0x01c00014, nil}, // P-256
	{0x01c00016, nil}, // P-384
	{0x01c00012, nil}, // RSA 2048
	{0x01c0001c, nil}, // RSA 3072
}

// Handles and ranges of them.
const (
	certifiedRSA = 0x01c00002
	certifiedECC = 0x01c0000a
	firstEKIndex = 0x01c00000
	lastEKIndex  = 0x01c07fff
	firstEKChain = 0x01c00100 // certificates above the endorsement certificates: 2.2.1.5.2
	lastEKChain  = 0x01c001ff
	firstKeptEK  = 0x81010000
	lastKeptEK   = 0x8101ffff
)

// endorsement finds the endorsement key: the one with a certificate, or else the P-256 one without.
func (t *session) endorsement() (endorsement, error) {
	indexes, err := t.handles(firstEKIndex, lastEKIndex)
	if err != nil {
		return endorsement{}, err
	}
	for _, c := range certified {
		if !slices.Contains(indexes, c.index) {
			continue
		}
		ek, found, err := t.certifiedKey(c.index, c.template)
		if err != nil {
			return endorsement{}, err
		}
		if found {
			return ek, t.addIssuers(&ek, indexes)
		}
	}
	ek, _, err := t.derived(&tpm2.ECCEKTemplate, nil, nil)
	return ek, err
}

// certifiedKey finds the key of the certificate at index: where the TPM keeps it, or by deriving it.
func (t *session) certifiedKey(index tpm2.TPMHandle, template *tpm2.TPMTPublic) (endorsement, bool, error) {
	content, err := t.readNV(index)
	if err != nil {
		return endorsement{}, false, err
	}
	chain := certificates(content)
	if len(chain) == 0 {
		return endorsement{}, false, nil
	}
	certificate, err := x509.ParseCertificate(chain[0])
	if err != nil {
		// Some makers' certificates are stranger than Go takes. Which key it is for is then the verifier's to say.
		return t.derived(template, nil, chain)
	}
	if ek, found, err := t.kept(certificate.PublicKey, chain); found || err != nil {
		return ek, found, err
	}
	return t.derived(template, certificate.PublicKey, chain)
}

// kept looks for the key among the persistent ones.
func (t *session) kept(key crypto.PublicKey, chain [][]byte) (endorsement, bool, error) {
	handles, err := t.handles(firstKeptEK, lastKeptEK)
	if err != nil {
		return endorsement{}, false, err
	}
	for _, h := range handles {
		public, _, err := t.readPublic(h)
		if _, refused := errors.AsType[tpm2.TPMRC](err); refused {
			return endorsement{}, false, label(fmt.Sprintf("read the key %#x", uint32(h)), err)
		}
		if err == nil && isKey(public, key) {
			return endorsement{public: public, handle: h, chain: chain}, true, nil
		}
	}
	return endorsement{}, false, nil
}

// derived derives the key and compares it with want, unless that is nil.
func (t *session) derived(template *tpm2.TPMTPublic, want crypto.PublicKey, chain [][]byte) (endorsement, bool, error) {
	if template == nil {
		return endorsement{}, false, nil
	}
	ek, public, err := t.endorsementPrimary("derive the endorsement key", *template)
	if err != nil {
		return endorsement{}, false, err
	}
	t.flush(ek.handle)
	return endorsement{public: public, template: template, chain: chain}, want == nil || isKey(public, want), nil
}

func isKey(public tpm2.TPMTPublic, key crypto.PublicKey) bool {
	k, err := tpm2.Pub(public)
	if err != nil {
		return false
	}
	comparable, ok := k.(interface{ Equal(crypto.PublicKey) bool })
	return ok && comparable.Equal(key)
}

// endorsementKey returns the key for use: it decrypts for who satisfies its policy, which is to know the password of
// the endorsement hierarchy, or its own where its template says so.
func (t *session) endorsementKey(e endorsement) (ek object, err error) {
	if e.template != nil {
		ek, _, err = t.endorsementPrimary("derive the endorsement key", *e.template)
	} else {
		name, nameErr := tpm2.ObjectName(&e.public)
		if nameErr != nil {
			return object{}, nameErr
		}
		ek = password(e.handle, *name)
	}
	if err == nil && !e.public.ObjectAttributes.UserWithAuth {
		ek.by, err = t.bySecret(e.public.NameAlg)
	}
	return ek, err
}

// bySecret is a policy session that is satisfied by the password of the endorsement hierarchy.
func (t *session) bySecret(hash tpm2.TPMIAlgHash) (*opener, error) {
	policy, err := t.byPolicy(hash)
	if err != nil {
		return nil, err
	}
	// Neither cpHash nor a reference, and it does not expire.
	_, err = t.run(tpm2.TPMCCPolicySecret, []object{hierarchy(tpm2.TPMRHEndorsement), bare(policy.session)},
		sized(policy.there), sized(nil), sized(nil), u32(0))
	return policy, labelEndorsement("authorize the endorsement key", err)
}
