// Package station is the work of people around the device: it asks EZCA for certificates, runs a small authority of its
// own, registers devices at IoT Hub and DPS, and enrolls whole orders of devices.
package station

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
)

// ParseRequest reads a certificate request, PEM or DER, and checks that its sender holds the key.
func ParseRequest(b []byte) (*x509.CertificateRequest, error) {
	der := b
	if block, _ := pem.Decode(b); block != nil {
		if block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST" {
			return nil, fmt.Errorf("a PEM block of type %s, where CERTIFICATE REQUEST belongs", block.Type)
		}
		der = block.Bytes
	}
	r, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	if err := r.CheckSignature(); err != nil {
		return nil, fmt.Errorf("certificate request of %s: its signature: %w", r.Subject, err)
	}
	return r, nil
}

// EncodeRequest is a certificate request (DER) in PEM.
func EncodeRequest(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

// CheckChain says why chain, leaf first, is not one for key, or nil: each certificate is signed by the next.
func CheckChain(chain []*x509.Certificate, key crypto.PublicKey) error {
	if !sameKey(chain[0].PublicKey, key) {
		return fmt.Errorf("the certificate of %s is for another key", chain[0].Subject)
	}
	for i, c := range chain[1:] {
		if err := chain[i].CheckSignatureFrom(c); err != nil {
			return fmt.Errorf("the certificate of %s does not come from %s: %w", chain[i].Subject, c.Subject, err)
		}
	}
	return nil
}

func sameKey(a, b crypto.PublicKey) bool {
	key, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(b)
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}
