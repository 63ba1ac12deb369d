package est

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/provisioning"
)

// task is what one Issue is to get.
type task struct {
	request provisioning.Request
	op      string
	name    string            // the common name that the certificate must have
	old     *x509.Certificate // that is renewed; nil at the first enrollment
	subject []byte            // DER
	san     *pkix.Extension   // nil where there is none
}

// renewalOf carries subject and alternative names over byte for byte: servers compare the encoding, and a rebuilt one
// differs as soon as the names stand in another order or string type (RFC 7030, 4.2.2).
func renewalOf(r provisioning.Request, op string) task {
	old := r.Current.Leaf()
	return task{request: r, op: op, name: old.Subject.CommonName, old: old, subject: old.RawSubject, san: provisioning.AlternativeNames(old)}
}

func firstOf(r provisioning.Request) task {
	subject, err := asn1.Marshal(pkix.Name{CommonName: r.DeviceID}.ToRDNSequence())
	if err != nil {
		subject = nil // not UTF-8: the request will say so
	}
	return task{request: r, op: SimpleEnroll, name: r.DeviceID, subject: subject}
}

// credential is what TLS presents, and nil where HTTP Basic has to do.
func (t task) credential(ctx context.Context, c Config) (*tls.Certificate, error) {
	if t.old != nil {
		mine := t.request.Current.Certificate()
		return &mine, nil
	}
	if c.Bootstrap != nil {
		boot, err := c.Bootstrap(ctx)
		if err != nil {
			return nil, fmt.Errorf("bootstrap certificate: %w", err)
		}
		return &boot, nil
	}
	if c.Username == "" || c.Password == nil {
		return nil, fault.AskOperator(errors.New("there is nothing that the server could know this device by"),
			"set bootstrap.certificate and bootstrap.key, or provisioning.est.username and password_file")
	}
	return nil, nil
}

// end is when the certificate in force ends; zero where there is none.
func (t task) end() time.Time {
	if t.old == nil {
		return time.Time{}
	}
	return t.old.NotAfter
}
