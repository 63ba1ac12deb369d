package tpm

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/fault"
)

// PCR ties new keys to what the device has booted: they sign only while the PCRs hold values that the maker of the
// operating system has approved with a signature. An update brings its own signature along, so it does not lock the
// device out (TPM2_PolicyAuthorize). The zero value ties nothing.
type PCR struct {
	Bank      string // of the PCRs: sha256 when empty, sha384 or sha1
	PCRs      []int  // 0 to 23
	PolicyKey string // PEM file of the public key, RSA or ECDSA P-256, that approves values
	Signature string // file of approved values, as systemd-measure writes it; read for each use
}

func (p PCR) on() bool { return len(p.PCRs) > 0 || p.PolicyKey != "" || p.Signature != "" }

func (p PCR) check() error {
	_, err := p.bank()
	switch {
	case !p.on():
		return nil
	case err != nil:
		return err
	case len(p.PCRs) == 0 || p.PolicyKey == "" || p.Signature == "":
		return errors.New("pcr policy: it needs the PCRs, the policy key and the signature file")
	}
	for _, n := range p.PCRs {
		if n < 0 || n > 23 {
			return fmt.Errorf("pcr policy: PCR %d is not one of 0 to 23", n)
		}
	}
	return nil
}

func (p PCR) bank() (tpm2.TPMIAlgHash, error) {
	switch p.Bank {
	case "", "sha256":
		return tpm2.TPMAlgSHA256, nil
	case "sha384":
		return tpm2.TPMAlgSHA384, nil
	case "sha1":
		return tpm2.TPMAlgSHA1, nil
	}
	return 0, fmt.Errorf("pcr policy: unknown bank %q: one of sha256, sha384, sha1", p.Bank)
}

func (p PCR) selection() (tpm2.TPMLPCRSelection, error) {
	bank, err := p.bank()
	if err != nil {
		return tpm2.TPMLPCRSelection{}, err
	}
	bits := make([]byte, 3)
	for _, n := range p.PCRs {
		bits[n/8] |= 1 << (n % 8)
	}
	return tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{Hash: bank, PCRSelect: bits}}}, nil
}

// digest is the policy digest of TPM2_PolicyPCR (part 3, 23.7) for these values of the PCRs.
func (p PCR) digest(values map[int][]byte) ([]byte, error) {
	if err := p.checkPCRs(); err != nil {
		return nil, err
	}
	selection, err := p.selection()
	if err != nil {
		return nil, err
	}
	all := sha256.New()
	for _, n := range slices.Compact(slices.Sorted(slices.Values(p.PCRs))) {
		if len(values[n]) == 0 {
			return nil, fmt.Errorf("pcr policy: no value for PCR %d", n)
		}
		all.Write(values[n])
	}
	return extend(make([]byte, sha256.Size), tpm2.TPMCCPolicyPCR, tpm2.Marshal(selection), all.Sum(nil)), nil
}

func (p PCR) checkPCRs() error {
	if len(p.PCRs) == 0 {
		return errors.New("pcr policy: no PCRs")
	}
	return PCR{Bank: p.Bank, PCRs: p.PCRs, PolicyKey: "-", Signature: "-"}.check()
}

func extend(digest []byte, command tpm2.TPMCC, data ...[]byte) []byte {
	h := sha256.New()
	h.Write(digest)
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(command)))
	for _, d := range data {
		h.Write(d)
	}
	return h.Sum(nil)
}

// authority is who approves PCR values, as the TPM knows her.
type authority struct {
	public tpm2.TPMTPublic
	name   tpm2.TPM2BName
	policy []byte // of the keys that heed her
}

func (p PCR) authority() (authority, error) {
	b, err := os.ReadFile(p.PolicyKey)
	if err != nil {
		return authority{}, fault.AskOperator(fmt.Errorf("pcr policy: %w", err), "put the public key of who signs operating system updates there, or correct keys.pcr.policy_key")
	}
	public, err := policyKey(b)
	if err != nil {
		return authority{}, fault.AskOperator(fmt.Errorf("pcr policy: %s: %w", p.PolicyKey, err), "put a PEM file of a public key there, RSA or ECDSA P-256")
	}
	name, err := tpm2.ObjectName(&public)
	if err != nil {
		return authority{}, fmt.Errorf("pcr policy: %w", err)
	}
	// TPM2_PolicyAuthorize starts from zeros, and has an empty reference to extend with (part 3, 23.16).
	reset := extend(make([]byte, sha256.Size), tpm2.TPMCCPolicyAuthorize, name.Buffer)
	policy := sha256.Sum256(reset)
	return authority{public, *name, policy[:]}, nil
}

func policyKey(b []byte) (tpm2.TPMTPublic, error) {
	block, _ := pem.Decode(b)
	if block == nil {
		return tpm2.TPMTPublic{}, errors.New("not a PEM file")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return tpm2.TPMTPublic{}, err
	}
	return external(key)
}

// approval is that the authority approved a policy digest, as the TPM itself has confirmed it. It stays good until
// the TPM is cleared.
type approval struct {
	digest []byte
	ticket []byte // TPMT_TK_VERIFIED
}

// policySession is a session that fulfils the policy of a key, if the PCRs do.
func (t *session) policySession(policy []byte) (*opener, error) {
	p := t.store.pcr
	if !p.on() {
		return nil, fault.AskOperator(errors.New("the key has a policy"), "say in keys.pcr which PCRs and whose signature it heeds")
	}
	who, err := p.authority()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(who.policy, policy) {
		return nil, fault.AskOperator(errors.New("the key heeds another policy key than that of keys.pcr"),
			"put back the policy key that the key was made with: it cannot be changed; a new key takes a new one")
	}
	selection, err := p.selection()
	if err != nil {
		return nil, err
	}
	o, err := t.byPolicy(tpm2.TPMAlgSHA256)
	if err != nil {
		return nil, err
	}
	if _, err := t.run(tpm2.TPMCCPolicyPCR, []object{bare(o.session)}, sized(nil), tpm2.Marshal(selection)); err != nil {
		return nil, label("read the PCRs", err)
	}
	return o, t.fulfil(o.session, who)
}

// fulfil shows the TPM who approved the present values: at first what she approved the last time.
func (t *session) fulfil(policy tpm2.TPMHandle, who authority) error {
	if last := t.store.approved; last != nil && t.present(policy, who, *last) == nil {
		return nil
	}
	digest, err := t.run(tpm2.TPMCCPolicyGetDigest, []object{bare(policy)})
	if err != nil {
		return label("read the policy digest", err)
	}
	a, err := t.approve(digest.sized(), who)
	if err != nil {
		return err
	}
	t.store.approved = &a
	return label("present the approval", t.present(policy, who, a))
}

func (t *session) present(policy tpm2.TPMHandle, who authority, a approval) error {
	_, err := t.run(tpm2.TPMCCPolicyAuthorize, []object{bare(policy)}, sized(a.digest), sized(nil), sized(who.name.Buffer), a.ticket)
	return err
}

// approve has the TPM confirm the authority's signature on the digest.
func (t *session) approve(digest []byte, who authority) (approval, error) {
	signature, err := t.store.pcr.signatureOn(digest)
	if err != nil {
		return approval{}, err
	}
	key, err := t.run(tpm2.TPMCCLoadExternal, nil, sized(nil), sized(tpm2.Marshal(who.public)), u32(tpm2.TPMRHOwner))
	if err != nil {
		return approval{}, label("load the policy key", err)
	}
	defer t.flush(key.handle)
	signed, err := wireSignature(who.public, signature)
	if err != nil {
		return approval{}, err
	}
	sum := sha256.Sum256(digest) // and no policy reference after it
	verified, err := t.run(tpm2.TPMCCVerifySignature, []object{bare(key.handle)}, sized(sum[:]), signed)
	if err != nil {
		return approval{}, fault.AskOperator(fmt.Errorf("%s: the signature is not one of the policy key: %w", t.store.pcr.Signature, err), hintPolicy)
	}
	return approval{digest, verified.rest}, nil
}
