package sim

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
)

// suites are the ones of TLS 1.2 with forward secrecy and an AEAD that "TLS support in Azure IoT Hub" lists.
var suites = []uint16{
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
}

// serverConfig asks for a client certificate and takes what comes: it is judged at CONNECT, as Azure does, where
// the temper does not refuse it earlier. The caller holds c.mu.
func (c *Cloud) serverConfig(s *service) *tls.Config {
	config := &tls.Config{
		Certificates:           []tls.Certificate{c.pki.server},
		CipherSuites:           suites,
		MinVersion:             tls.VersionTLS12,
		ClientAuth:             tls.RequestClientCert,
		SessionTicketsDisabled: !c.policy.Tickets, // then every session shows its certificate
	}
	if c.policy.Tickets {
		config.SetSessionTicketKeys([][32]byte{c.ticketKey})
	}
	if c.temper.TLS12Only {
		config.MaxVersion = tls.VersionTLS12
	}
	c.spoil(config)
	if c.temper.RefuseInHandshake {
		config.ClientAuth = tls.RequireAndVerifyClientCert
		config.ClientCAs = c.known()
		config.VerifyPeerCertificate = func(_ [][]byte, chains [][]*x509.Certificate) error {
			if len(chains) == 0 {
				return nil // there is no certificate, and none is needed
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.alive(c.devices[chains[0][0].Subject.CommonName], chains[0])
		}
	}
	return config
}

// known are all CAs that some device may stand on. The caller holds c.mu.
func (c *Cloud) known() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(c.pki.operational.root.cert)
	for _, ca := range append(c.verified(), c.hubCAs.proven()...) {
		pool.AddCert(ca)
	}
	for _, d := range c.devices {
		if d.auth.CA != nil {
			pool.AddCert(d.auth.CA)
		}
	}
	return pool
}

// alive says why the cloud no longer accepts a certificate that it issued to d, or nil. The caller holds c.mu.
func (c *Cloud) alive(d *device, chain []*x509.Certificate) error {
	if err := c.outlived(chain...); err != nil {
		return err
	}
	if d == nil || !chain[len(chain)-1].Equal(c.pki.operational.root.cert) {
		return nil
	}
	if uniqueOf(chain[0]) != d.unique {
		return errors.New("the certificate is revoked")
	}
	for _, i := range c.issued[d.id] {
		if i.dead && i.leaf.Equal(chain[0]) {
			return errors.New("the certificate was replaced by a newer one")
		}
	}
	return nil
}

// chainTo verifies a presented chain against roots at this moment and returns it completed. Only what the device
// presented helps to build it: Azure fetches no intermediate ("Authenticate with X.509 CA certificates").
func chainTo(presented []*x509.Certificate, roots ...*x509.Certificate) ([]*x509.Certificate, error) {
	options := x509.VerifyOptions{
		Roots:         x509.NewCertPool(),
		Intermediates: x509.NewCertPool(),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, r := range roots {
		options.Roots.AddCert(r)
	}
	for _, i := range presented[1:] {
		options.Intermediates.AddCert(i)
	}
	chains, err := presented[0].Verify(options)
	if err != nil {
		return nil, err
	}
	return chains[0], nil
}
