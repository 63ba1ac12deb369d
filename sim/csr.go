package sim

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// maxCSR is how many base64 characters a certificate request may have.
const maxCSR = 8192

// decodeCSR takes standard base64 on one line, padded and without PEM armour.
func decodeCSR(s string) ([]byte, error) {
	switch {
	case s == "":
		return nil, errors.New("csr is empty")
	case len(s) > maxCSR:
		return nil, fmt.Errorf("csr has %d characters, more than %d", len(s), maxCSR)
	case strings.ContainsAny(s, "\r\n"): // which the decoder would pass over
		return nil, errors.New("csr is not on one line")
	}
	der, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("csr is not base64: %w", err)
	}
	return der, nil
}

// check says whether a certificate request is one to certify as cn.
func (p Policy) check(der []byte, cn string) (*x509.CertificateRequest, error) {
	r, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("csr is not PKCS#10: %w", err)
	}
	if err := r.CheckSignature(); err != nil {
		return nil, fmt.Errorf("csr is not signed by its own key: %w", err)
	}
	if r.Subject.CommonName != cn {
		return nil, fmt.Errorf("csr is for %q, not for %q", r.Subject.CommonName, cn)
	}
	return r, p.checkKey(r.PublicKey)
}

// checkKey: the documentation names P-384 only, Microsoft's own clients and tests also use P-256 and RSA.
func (p Policy) checkKey(public any) error {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P384() || k.Curve == elliptic.P256() && !p.P384Only {
			return nil
		}
		return fmt.Errorf("key on curve %s is not certified", k.Curve.Params().Name)
	case *rsa.PublicKey:
		if k.N.BitLen() >= 2048 && !p.P384Only {
			return nil
		}
		return fmt.Errorf("RSA key of %d bits is not certified", k.N.BitLen())
	}
	return fmt.Errorf("key of type %T is not certified", public)
}
