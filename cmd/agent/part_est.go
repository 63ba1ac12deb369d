//go:build !noest

package main

import (
	"crypto/x509"

	"github.com/devid-agent/devid-agent/provisioning/est"
)

func (a *agent) openEST() (certifier, error) {
	c := a.config.Provisioning.EST
	roots, err := a.trust("est", func() (*x509.CertPool, error) { return readRoots(c.Roots) })
	if err != nil {
		return nil, err
	}
	anchors, err := readCertificates(c.Anchors)
	if err != nil {
		return nil, err
	}
	config := est.Config{
		URL: c.URL, Label: c.Label, Roots: roots, Anchors: anchors, Reenroll: c.Reenroll, LeafOnly: c.LeafOnly, WithRoot: c.WithRoot,
		Username: c.Username, Password: func() (string, error) { return readLine("provisioning.est.password_file", c.PasswordFile) },
		UserAgent: userAgent(), Deadline: c.Deadline, Dial: a.dial(), Log: a.part("est"),
	}
	if a.config.Bootstrap.Certificate != "" {
		config.Bootstrap = a.bootstrap
	}
	return est.New(config), nil
}

// mistakeInEST says what in the configuration cannot work, or nil.
func mistakeInEST(c *Config) error {
	e := c.Provisioning.EST
	return est.Config{URL: e.URL, Label: e.Label, Reenroll: e.Reenroll, Username: e.Username}.Check()
}
