package tpm

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"slices"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/fault"
)

// approved is one entry of a signature file, in the form of systemd-measure(1), so that an image which systemd can
// unlock needs nothing more: lists of these, by bank.
type approved struct {
	PCRs        []int  `json:"pcrs"`
	Fingerprint string `json:"pkfp"` // SHA-256 of the public key
	Policy      string `json:"pol"`  // policy digest in hex
	Signature   []byte `json:"sig"`
}

// ApprovePCRs adds to a signature file, which may be empty, that signer approves the values of p's PCRs. It is for
// who builds operating system images; the device needs the file and the public key. The same with tpm2-tools:
//
//	tpm2_createpolicy --policy-pcr -l sha256:7,11 -f VALUES -L pol
//	openssl dgst -sha256 -sign key.pem -out sig pol
//	printf '{"sha256":[{"pcrs":[7,11],"pol":"%s","sig":"%s"}]}' $(xxd -p -c 64 pol) $(base64 -w 0 sig)
func ApprovePCRs(file []byte, signer crypto.Signer, p PCR, values map[int][]byte) ([]byte, error) {
	if _, err := external(signer.Public()); err != nil {
		return nil, fmt.Errorf("approve PCRs: %w", err)
	}
	digest, err := p.digest(values)
	if err != nil {
		return nil, fmt.Errorf("approve PCRs: %w", err)
	}
	lists := map[string][]approved{}
	if len(file) > 0 {
		if err := json.Unmarshal(file, &lists); err != nil {
			return nil, fmt.Errorf("approve PCRs: signature file: %w", err)
		}
	}
	sum := sha256.Sum256(digest)
	signature, err := signer.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("approve PCRs: %w", err)
	}
	der, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return nil, fmt.Errorf("approve PCRs: %w", err)
	}
	fingerprint := sha256.Sum256(der)
	bank := p.bankName()
	lists[bank] = append(lists[bank], approved{PCRs: slices.Sorted(slices.Values(p.PCRs)),
		Fingerprint: hex.EncodeToString(fingerprint[:]), Policy: hex.EncodeToString(digest), Signature: signature})
	return json.MarshalIndent(lists, "", "\t")
}

func (p PCR) bankName() string {
	if p.Bank == "" {
		return "sha256"
	}
	return p.Bank
}

// signatureOn finds the signature on the policy digest in the signature file.
func (p PCR) signatureOn(digest []byte) ([]byte, error) {
	b, err := os.ReadFile(p.Signature)
	if err != nil {
		return nil, fault.AskOperator(fmt.Errorf("pcr policy: %w", err), hintPolicy)
	}
	var lists map[string][]approved
	if err := json.Unmarshal(b, &lists); err != nil {
		return nil, fault.AskOperator(fmt.Errorf("pcr policy: %s: %w", p.Signature, err), hintPolicy)
	}
	for _, a := range lists[p.bankName()] {
		if a.Policy == hex.EncodeToString(digest) {
			return a.Signature, nil
		}
	}
	return nil, fault.AskOperator(fmt.Errorf("pcr policy: none of the %d approvals in %s is for the present values of PCRs %v",
		len(lists[p.bankName()]), p.Signature, p.PCRs), hintPolicy)
}

// external is the public area that tpm2_loadexternal gives a public key, so that its name is the same.
func external(public crypto.PublicKey) (tpm2.TPMTPublic, error) {
	area := tpm2.TPMTPublic{NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{UserWithAuth: true, SignEncrypt: true, Decrypt: true}}
	switch public := public.(type) {
	case *rsa.PublicKey:
		if public.E != 65537 {
			return area, fmt.Errorf("rsa exponent %d: TPMs know 65537", public.E)
		}
		area.Type = tpm2.TPMAlgRSA
		area.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
			KeyBits: tpm2.TPMKeyBits(public.N.BitLen()), Exponent: uint32(public.E)})
		area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: public.N.Bytes()})
		return area, nil
	case *ecdsa.PublicKey:
		point, err := public.Bytes()
		if err != nil || len(point) != 65 {
			return area, errors.Join(errors.New("the curve is not P-256"), err)
		}
		area.Type = tpm2.TPMAlgECC
		area.Parameters = eccParameters(tpm2.TPMECCNistP256).Parameters
		area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
			X: tpm2.TPM2BECCParameter{Buffer: point[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: point[33:]}})
		return area, nil
	}
	return area, fmt.Errorf("key of type %T is neither RSA nor ECDSA", public)
}

// wireSignature is a signature with SHA-256 as TPM2_VerifySignature wants it: a TPMT_SIGNATURE.
func wireSignature(public tpm2.TPMTPublic, signature []byte) ([]byte, error) {
	if public.Type == tpm2.TPMAlgRSA {
		return slices.Concat(u16(tpm2.TPMAlgRSASSA), u16(tpm2.TPMAlgSHA256), sized(signature)), nil
	}
	var pair struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(signature, &pair); err != nil || len(rest) > 0 {
		return nil, fault.AskOperator(errors.Join(errors.New("pcr policy: the signature is not one of ECDSA"), err), hintPolicy)
	}
	return slices.Concat(u16(tpm2.TPMAlgECDSA), u16(tpm2.TPMAlgSHA256), sized(pair.R.Bytes()), sized(pair.S.Bytes())), nil
}
