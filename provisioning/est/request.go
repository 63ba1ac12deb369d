package est

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/devid-agent/devid-agent/fault"
)

// order is a request that went out, or is about to, and has had no final answer.
type order struct {
	public  []byte // SubjectPublicKeyInfo
	subject []byte
	csr     []byte // DER
}

// request is the PKCS #10 request (DER) for t: the one that is still unanswered, where there is one for the same key
// and subject. An ECDSA signature is never the same twice, so making it anew would be another request to the server
// (RFC 7030, 4.2.3).
func (c *Client) request(t task, w wishes) ([]byte, error) {
	public, err := x509.MarshalPKIXPublicKey(t.request.Key.Public())
	if err != nil {
		return nil, fault.As(fault.Permanent, fmt.Errorf("public key: %w", err))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if o := c.open; o != nil && bytes.Equal(o.public, public) && bytes.Equal(o.subject, t.subject) {
		return o.csr, nil
	}
	csr, err := t.sign(w)
	if err != nil {
		return nil, err
	}
	c.open = &order{public, t.subject, csr}
	return csr, nil
}

// settle forgets the request once the server has said yes or no to it.
func (c *Client) settle(err error) {
	if err != nil && fault.Of(err) == fault.Transient {
		return
	}
	c.mu.Lock()
	c.open = nil
	c.mu.Unlock()
}

func (t task) sign(w wishes) ([]byte, error) {
	usual, wished := w.algorithm(t.request.Key.Public())
	template := &x509.CertificateRequest{RawSubject: t.subject, SignatureAlgorithm: wished}
	if t.old == nil {
		template.ExtraExtensions = w.extensions
	}
	if t.san != nil {
		template.ExtraExtensions = append(template.ExtraExtensions, *t.san)
	}
	if t.subject == nil {
		return nil, fault.As(fault.Permanent, errors.New("the device ID cannot be a common name"))
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, t.request.Key)
	if err != nil && template.SignatureAlgorithm != usual {
		template.SignatureAlgorithm = usual // a wish is no condition, and not every chip knows every hash
		der, err = x509.CreateCertificateRequest(rand.Reader, template, t.request.Key)
	}
	if err != nil {
		return nil, fault.As(fault.Of(err), fmt.Errorf("sign the certificate request: %w", err))
	}
	return der, nil
}
