package tpm

import (
	"crypto"
	"crypto/x509"
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
	{0x01c0000a, &tpm2.ECCEKTemplate},
	{0x01c00002, &tpm2.RSAEKTemplate},
	{0x01c00014, nil}, // P-256
	{0x01c00016, nil}, // P-384
	{0x01c00012, nil}, // RSA 2048
	{0x01c0001c, nil}, // RSA 3072
}

// Ranges of handles.
const (
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
		answer, err := tpm2.ReadPublic{ObjectHandle: h}.Execute(t)
		if err != nil {
			return endorsement{}, false, label(fmt.Sprintf("read the key %#x", uint32(h)), err)
		}
		if public, err := answer.OutPublic.Contents(); err == nil && isKey(*public, key) {
			return endorsement{public: *public, handle: h, chain: chain}, true, nil
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
	t.flush(ek.Handle)
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
func (t *session) endorsementKey(e endorsement) (ek tpm2.AuthHandle, err error) {
	if e.template != nil {
		ek, _, err = t.endorsementPrimary("derive the endorsement key", *e.template)
	} else {
		name, nameErr := tpm2.ObjectName(&e.public)
		if nameErr != nil {
			return tpm2.AuthHandle{}, nameErr
		}
		ek = password(e.handle, *name)
	}
	if err == nil && !e.public.ObjectAttributes.UserWithAuth {
		ek.Auth, err = t.bySecret(e.public.NameAlg)
	}
	return ek, err
}

// bySecret is a policy session that is satisfied by the password of the endorsement hierarchy.
func (t *session) bySecret(hash tpm2.TPMIAlgHash) (tpm2.Session, error) {
	policy, _, err := tpm2.PolicySession(t, hash, 16)
	if err != nil {
		return nil, label("start a policy session", err)
	}
	t.loaded = append(t.loaded, policy.Handle())
	_, err = tpm2.PolicySecret{AuthHandle: password(tpm2.TPMRHEndorsement, tpm2.HandleName(tpm2.TPMRHEndorsement)),
		PolicySession: policy.Handle(), NonceTPM: policy.NonceTPM()}.Execute(t)
	return policy, labelEndorsement("authorize the endorsement key", err)
}
