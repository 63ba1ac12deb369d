package mtls

import "crypto/x509"

// Roots are the authorities that a server's certificate must come from. They are asked at each connection, since authorities
// are replaced while a program runs. Nil is the system's, and so is a nil pool.
type Roots func() *x509.CertPool

// Fixed are roots that stay as they are.
func Fixed(pool *x509.CertPool) Roots { return func() *x509.CertPool { return pool } }

// Pool is whom to trust now.
func (r Roots) Pool() *x509.CertPool {
	if r == nil {
		return nil
	}
	return r()
}
