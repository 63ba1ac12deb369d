package dps

import "crypto/x509"

// bundle is the trust bundle of 2021-11-01-preview. Later versions have none.
type bundle struct {
	Certificates []struct {
		Certificate string `json:"certificate"` // PEM
	} `json:"certificates"`
}

func (b *bundle) parse() ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for _, c := range b.Certificates {
		some, err := parsePEM(c.Certificate)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// tellTrust hands the trust bundle on. One that cannot be read is none: it is no reason to do without a hub.
func (c *Client) tellTrust(s state) {
	if s.TrustBundle == nil || c.config.TrustBundle == nil {
		return
	}
	all, err := s.TrustBundle.parse()
	if err != nil {
		c.config.Log.Warn("the trust bundle of the service cannot be read, and is left out", "err", err)
		return
	}
	c.config.TrustBundle(all)
}
