package station

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
)

// seedRequests make the requests with which fuzzing begins.
var seedRequests = []func(crypto.Signer) ([]byte, error){
	func(key crypto.Signer) ([]byte, error) { return seedRequest(key, nil) },
	func(key crypto.Signer) ([]byte, error) {
		return seedRequest(key, []pkix.Extension{{Id: oidBasicConstraints, Value: []byte{0x30, 0x03, 0x01, 0x01, 0xff}}})
	},
	func(key crypto.Signer) ([]byte, error) {
		return seedRequest(key, []pkix.Extension{{Id: oidExtKeyUsage, Value: []byte{0x30, 0x0a, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02}}})
	},
}

func seedRequest(key crypto.Signer, more []pkix.Extension) ([]byte, error) {
	return x509.CreateCertificateRequest(rand.Reader,
		&x509.CertificateRequest{Subject: pkix.Name{CommonName: "gw-1"}, DNSNames: []string{"gw-1"}, ExtraExtensions: more}, key)
}
