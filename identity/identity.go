// Package identity is who the device is: the certificate in force, the one granted but not yet proven, and
// the hardware keys that belong to them, across power cuts.
//
// Identities are numbered generations, each with a key of its own that is never overwritten. A grant is staged
// (pending.json), proven to the cloud, and promoted by one rename over current.json: the rename is the commit.
package identity

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"time"
)

// Assignment is where a device belongs.
type Assignment struct {
	DeviceID string // as the hub knows it, case-sensitive
	Module   string // of the device, where the identity is a module's; "" = the device itself
	Hub      string // host name of the hub
}

// Name is what the hub knows the identity by, and the common name of its certificates: the device ID, and behind a
// slash the module's (Microsoft Learn, "Authenticate identities with X.509 certificates").
func (a Assignment) Name() string {
	if a.Module == "" {
		return a.DeviceID
	}
	return a.DeviceID + "/" + a.Module
}

// Grant is what an enrollment gives: an assignment, and a certificate for it.
type Grant struct {
	Assignment
	// Chain is leaf first, as the hub wants it presented. It is empty where the device shows tokens instead, made with
	// a key that is shared with the cloud.
	Chain []*x509.Certificate
}

// Certified reports whether there is a certificate. Without one there is nothing that could expire.
func (g Grant) Certified() bool { return len(g.Chain) > 0 }

// Identity is a grant together with the key in hardware that it was made for.
type Identity struct {
	Grant
	Generation uint64
	Key        string // name in the key store; "" where there is no certificate

	signer crypto.Signer
}

// Leaf is the device's own certificate, nil where there is none.
func (id *Identity) Leaf() *x509.Certificate {
	if !id.Certified() {
		return nil
	}
	return id.Chain[0]
}

// Expired reports whether the certificate is too old at the time now. One that is not there never is.
func (id *Identity) Expired(now time.Time) bool {
	return id.Certified() && now.After(id.Leaf().NotAfter)
}

// Signer is the private key in hardware, nil where there is no certificate.
func (id *Identity) Signer() crypto.Signer { return id.signer }

// Certificate is the identity as TLS presents it: the whole chain and the key in hardware. It is empty where there is
// no certificate.
func (id *Identity) Certificate() tls.Certificate {
	if !id.Certified() {
		return tls.Certificate{}
	}
	return Certificate(id.Chain, id.signer)
}

// Certificate is chain, leaf first, and its key as TLS presents them. A key that cannot make every signature that its
// kind is known for says so through SignatureSchemes, and TLS is held to that.
func Certificate(chain []*x509.Certificate, key crypto.Signer) tls.Certificate {
	c := tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, x := range chain {
		c.Certificate = append(c.Certificate, x.Raw)
	}
	if limited, ok := key.(interface{ SignatureSchemes() []tls.SignatureScheme }); ok {
		c.SupportedSignatureAlgorithms = limited.SignatureSchemes()
	}
	return c
}

// LogValue is the identity in a log line; it holds nothing secret.
func (id *Identity) LogValue() slog.Value {
	if id == nil {
		return slog.StringValue("none")
	}
	common := []slog.Attr{slog.String("device", id.Name()), slog.String("hub", id.Hub), slog.Uint64("gen", id.Generation)}
	if !id.Certified() {
		return slog.GroupValue(append(common, slog.String("credential", "token"))...)
	}
	return slog.GroupValue(append(common,
		slog.String("key", id.Key),
		slog.String("serial", id.Leaf().SerialNumber.Text(16)),
		slog.String("not_after", id.Leaf().NotAfter.UTC().Format(time.RFC3339)),
	)...)
}
