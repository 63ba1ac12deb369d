//go:build !noezca

package main

import (
	"crypto/x509"

	"github.com/devid-agent/devid-agent/provisioning/ezca"
)

func (a *agent) openEZCA() (certifier, error) {
	c := a.config.Provisioning.EZCA
	roots, err := a.trust("ezca", func() (*x509.CertPool, error) { return readRoots(c.Roots) })
	if err != nil {
		return nil, err
	}
	issuers, err := readCertificates(c.Issuers)
	if err != nil {
		return nil, err
	}
	return ezca.New(ezca.Config{
		URL: c.URL, CA: c.CA, Template: c.Template, API: c.API, TokenFile: c.TokenFile, Issuers: issuers, Validity: c.Validity, TokenLife: c.JWTLife,
		Roots: roots, UserAgent: userAgent(), Deadline: c.Deadline, Dial: a.dial(), Log: a.part("ezca"),
	}), nil
}

// mistakeInEZCA says what in the configuration cannot work, or nil.
func mistakeInEZCA(c *Config) error {
	e := c.Provisioning.EZCA
	return ezca.Config{URL: e.URL, CA: e.CA, Template: e.Template, API: e.API, Validity: e.Validity, TokenLife: e.JWTLife}.Check()
}
