package dps

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/devid-agent/devid-agent/fault"
)

// speech is how one version of the API says what not all of them say alike.
type speech struct {
	version string
	csr     func(b *body, der []byte)                  // puts a certificate request into the body; nil = there is none
	issued  func(s state) ([]*x509.Certificate, error) // reads the chain that came for it, nil where there is none
}

// speeches are the versions of the device API that are published, in their order. 2026-11-01 and later are as their
// specification has them; they were not deployed everywhere when this was written.
var speeches = []speech{
	{version: "2019-03-31"},
	{version: "2021-06-01"},
	{version: "2021-10-01"},
	{"2021-11-01-preview", requestPEM, issuedPEM},
	{"2025-07-01-preview", requestDER, issuedDER},
	{"2026-11-01", requestDER, issuedDER},
	{"2026-11-02-preview", requestDER, issuedDER},
}

func newest() speech { return speeches[len(speeches)-1] }

// speech is that of the configured version. One that is not published yet is taken as the newest.
func (c *Client) speech() speech {
	for _, s := range speeches {
		if s.version == c.config.APIVersion {
			return s
		}
	}
	c.config.Log.Warn("API version is not known, its rules are taken to be the newest", "version", c.config.APIVersion, "rules", newest().version)
	return newest()
}

// chain is what the service has issued, leaf first. There must be something.
func (s speech) chain(from state) ([]*x509.Certificate, error) {
	chain, err := s.issued(from)
	if err != nil {
		return nil, fault.As(fault.Permanent, fmt.Errorf("read what was issued: %w", err))
	}
	if len(chain) == 0 {
		return nil, fault.As(fault.Permanent, fault.AskOperator(errors.New("a certificate was asked for and the service issued none"),
			"give the enrollment a certificate policy (credentialPolicyName), or set provisioning.dps.csr to false where "+
				"the bootstrap certificate is the operational one"))
	}
	return chain, nil
}

// body is the request to register.
type body struct {
	RegistrationID       string          `json:"registrationId"`
	CSR                  string          `json:"csr,omitempty"`
	ClientCertificateCSR string          `json:"clientCertificateCsr,omitempty"`
	TPM                  *tpmKeys        `json:"tpm,omitempty"`
	Payload              json.RawMessage `json:"payload,omitempty"`
}

func requestDER(b *body, der []byte) { b.CSR = base64.StdEncoding.EncodeToString(der) }

func requestPEM(b *body, der []byte) {
	b.ClientCertificateCSR = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

// issuedDER reads base64 of DER, leaf first.
func issuedDER(s state) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for i, text := range s.IssuedCertificateChain {
		der, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", i+1, err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", i+1, err)
		}
		chain = append(chain, cert)
	}
	return chain, nil
}

func issuedPEM(s state) ([]*x509.Certificate, error) { return parsePEM(s.IssuedClientCertificate) }

// parsePEM reads all certificates in text. What is no certificate is an error, what stands between them is not.
func parsePEM(text string) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	rest := []byte(text)
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("a %s in place of a certificate", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(all)+1, err)
		}
		all = append(all, cert)
	}
	if len(all) == 0 && text != "" {
		return nil, errors.New("no PEM in it")
	}
	return all, nil
}
