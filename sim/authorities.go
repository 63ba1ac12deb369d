package sim

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"time"
)

// authorities are the CA certificates that were uploaded to the hub, or to the DPS. The cloud's mutex guards them.
type authorities struct {
	byName map[string]*authority // in lower case
}

func newAuthorities() *authorities { return &authorities{byName: map[string]*authority{}} }

// authority is one CA certificate, and whether who uploaded it has shown to have its key.
type authority struct {
	name             string
	cert             *x509.Certificate
	verified         bool
	code             string // what the proof must be made for; "" is none yet
	etag             string
	created, updated time.Time
}

func (a *authorities) find(name string) *authority { return a.byName[strings.ToLower(name)] }

// proven are the certificates whose key was shown.
func (a *authorities) proven() []*x509.Certificate {
	var all []*x509.Certificate
	for _, one := range a.byName {
		if one.verified {
			all = append(all, one.cert)
		}
	}
	return all
}

// sorted are all, by name.
func (a *authorities) sorted() []*authority {
	var all []*authority
	for _, one := range a.byName {
		all = append(all, one)
	}
	slices.SortFunc(all, func(x, y *authority) int { return strings.Compare(x.name, y.name) })
	return all
}

func (a *authority) changed() {
	a.etag = base64.StdEncoding.EncodeToString(newSecret(8))
	a.updated = time.Now()
}

// prove takes the certificate of the proof of possession: its common name is the code, and the CA has signed it
// ("How to do proof-of-possession for X.509 CA certificates").
func (a *authority) prove(proof *x509.Certificate) error {
	now := time.Now()
	switch {
	case a.code == "":
		return errors.New("no verification code was asked for")
	case proof.Subject.CommonName != a.code:
		return errors.New("the common name is not the verification code")
	case now.Before(proof.NotBefore) || now.After(proof.NotAfter):
		return errors.New("the verification certificate is not in date")
	}
	if err := proof.CheckSignatureFrom(a.cert); err != nil {
		return err
	}
	a.verified, a.code = true, ""
	a.changed()
	return nil
}

// parseCA reads what an upload has: base64 of DER, or of PEM, in which CA certificates also come.
func parseCA(text string) (*x509.Certificate, error) {
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		der = []byte(text) // PEM that is not encoded again
	}
	if block, rest := pem.Decode(der); block != nil {
		if len(bytes.TrimSpace(rest)) > 0 {
			return nil, errors.New("more than one certificate")
		}
		der = block.Bytes
	}
	return x509.ParseCertificate(der)
}

// VerifyCA uploads a CA certificate to the hub and the DPS as one whose key was shown.
func (c *Cloud) VerifyCA(name string, ca *x509.Certificate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, all := range []*authorities{c.hubCAs, c.dpsCAs} {
		a := &authority{name: name, cert: ca, verified: true, created: time.Now()}
		a.changed()
		all.byName[strings.ToLower(name)] = a
	}
}
