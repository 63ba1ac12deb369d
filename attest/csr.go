package attest

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"

	"github.com/devid-agent/devid-agent/keys"
)

// Object identifiers of draft-ietf-lamps-csr-attestation and of the TCG.
var (
	idAttestation    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 59} // id-aa-attestation
	idTPMCertify     = asn1.ObjectIdentifier{2, 23, 133, 20, 1}                  // tcg-attest-tpm-certify
	ecdsaWithSHA256  = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
	sha256WithRSA    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}
	errNoAttestation = errors.New("the request has no attestation")
)

// bundle is AttestationBundle of draft-ietf-lamps-csr-attestation-27, 4.
type bundle struct {
	Attestations []attestation
	Certs        []asn1.RawValue `asn1:"optional,omitempty"`
}

type attestation struct {
	Type asn1.ObjectIdentifier
	Stmt certifyStatement
}

// certifyStatement is Tcg-csr-tpm-certify of draft-ietf-lamps-csr-attestation-examples, TPM V2.0.
type certifyStatement struct {
	Attest    []byte // TPMS_ATTEST
	Signature []byte // TPMT_SIGNATURE
	Public    []byte // TPMT_PUBLIC
}

type attribute struct {
	Type   asn1.ObjectIdentifier
	Values []bundle `asn1:"set"`
}

// CSRAttribute is the evidence as the attribute id-aa-attestation of a certificate request, DER. The certificates in
// it are the endorsement certificate and those above it.
func CSRAttribute(e keys.Evidence) ([]byte, error) {
	if e.TPM == nil {
		return nil, fmt.Errorf("evidence of kind %q has no form in a certificate request", e.Kind)
	}
	b := bundle{Attestations: []attestation{{idTPMCertify, certifyStatement{e.TPM.Attest, e.TPM.Signature, e.TPM.Public}}}}
	for _, der := range e.TPM.EKChain {
		b.Certs = append(b.Certs, asn1.RawValue{FullBytes: der})
	}
	return asn1.Marshal(attribute{idAttestation, []bundle{b}})
}

// requestInfo is CertificationRequestInfo of RFC 2986, 4.1.
type requestInfo struct {
	Version    int
	Subject    asn1.RawValue
	PublicKey  asn1.RawValue
	Attributes []asn1.RawValue `asn1:"tag:0,set"`
}

type request struct {
	Info      asn1.RawValue
	Algorithm pkix.AlgorithmIdentifier
	Signature asn1.BitString
}

// CSR is a PKCS#10 request (DER) for key with the common name cn and the evidence as its one attribute, signed with
// SHA-256.
func CSR(cn string, key crypto.Signer, e keys.Evidence) ([]byte, error) {
	evidence, err := CSRAttribute(e)
	if err != nil {
		return nil, err
	}
	subject, err := asn1.Marshal(pkix.Name{CommonName: cn}.ToRDNSequence())
	if err != nil {
		return nil, fmt.Errorf("common name: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(public, e.PublicKey) {
		return nil, errors.New("the evidence is about another key")
	}
	info, err := asn1.Marshal(requestInfo{Subject: asn1.RawValue{FullBytes: subject}, PublicKey: asn1.RawValue{FullBytes: public},
		Attributes: []asn1.RawValue{{FullBytes: evidence}}})
	if err != nil {
		return nil, err
	}
	return sign(info, key)
}

func sign(info []byte, key crypto.Signer) ([]byte, error) {
	algorithm := pkix.AlgorithmIdentifier{Algorithm: ecdsaWithSHA256}
	if _, ok := key.Public().(*rsa.PublicKey); ok {
		algorithm = pkix.AlgorithmIdentifier{Algorithm: sha256WithRSA, Parameters: asn1.NullRawValue}
	}
	digest := sha256.Sum256(info)
	signature, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate request: %w", err)
	}
	return asn1.Marshal(request{asn1.RawValue{FullBytes: info}, algorithm, asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}})
}

// checkRequest says why the request does not carry the evidence e, or is not for its key and signed by it.
func checkRequest(der []byte, e keys.Evidence) error {
	r, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return err
	}
	if err := r.CheckSignature(); err != nil {
		return err
	}
	if !bytes.Equal(r.RawSubjectPublicKeyInfo, e.PublicKey) {
		return errors.New("it is for another key than the evidence")
	}
	carried, err := carriedBy(r)
	if err != nil {
		return err
	}
	want, err := CSRAttribute(e)
	if err != nil {
		return err
	}
	if !bytes.Equal(carried, want) {
		return errors.New("it carries other evidence")
	}
	return nil
}

// carriedBy returns the attribute id-aa-attestation, which crypto/x509 does not.
func carriedBy(r *x509.CertificateRequest) ([]byte, error) {
	var info requestInfo
	if _, err := asn1.Unmarshal(r.RawTBSCertificateRequest, &info); err != nil {
		return nil, err
	}
	for _, a := range info.Attributes {
		var id asn1.ObjectIdentifier
		if _, err := asn1.Unmarshal(a.Bytes, &id); err == nil && id.Equal(idAttestation) {
			return a.FullBytes, nil
		}
	}
	return nil, errNoAttestation
}
