package sim

import (
	"bytes"
	"crypto/subtle"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// basic checks the user of a request.
func (h *estHandler) basic(r *http.Request) (user string, err error) {
	user, password, ok := r.BasicAuth()
	h.cloud.mu.Lock()
	want, known := h.ca.users[user]
	h.cloud.mu.Unlock()
	if !ok || !known || subtle.ConstantTimeCompare([]byte(password), []byte(want)) != 1 {
		return "", &estError{http.StatusUnauthorized, "user name or password"}
	}
	return user, nil
}

// admit says why the request is not one to fulfil, or nil.
func (h *estHandler) admit(r *http.Request, request *x509.CertificateRequest, t ESTTemper, again bool) error {
	if err := request.CheckSignature(); err != nil {
		return &estError{http.StatusBadRequest, "the request is not signed by its own key"}
	}
	h.cloud.mu.Lock()
	policy := h.cloud.policy
	h.cloud.mu.Unlock()
	if err := policy.checkKey(request.PublicKey); err != nil {
		return &estError{http.StatusBadRequest, err.Error()}
	}
	if by := h.cloud.estIssuing(h.ca).SignatureAlgorithm; t.SameHash && request.SignatureAlgorithm != by {
		return &estError{http.StatusBadRequest, fmt.Sprintf("the request is signed by %v, not %v", request.SignatureAlgorithm, by)}
	}
	if t.OnePeer && len(h.link.chain) != 1 {
		return &estError{http.StatusUnauthorized, fmt.Sprintf("%d certificates are presented, not one", len(h.link.chain))}
	}
	if len(h.link.chain) == 0 {
		return h.admitUser(r, again)
	}
	h.seen(h.link.name, func(n *ESTCount) { n.AuthenticatedByCertificates++ })
	return h.admitCertificate(request, t, again)
}

func (h *estHandler) seen(device string, count func(*ESTCount)) {
	h.cloud.mu.Lock()
	defer h.cloud.mu.Unlock()
	count(h.ca.count(device))
}

func (h *estHandler) admitUser(r *http.Request, again bool) error {
	if again {
		return &estError{http.StatusForbidden, "a renewal needs the certificate that it is for"}
	}
	user, err := h.basic(r)
	if err == nil {
		h.seen(user, func(n *ESTCount) { n.AuthenticatedByBasic++ })
	}
	return err
}

func (h *estHandler) admitCertificate(request *x509.CertificateRequest, t ESTTemper, again bool) error {
	leaf, now := h.link.chain[0], time.Now().Add(t.ClockOffset)
	own, err := h.cloud.judgeEST(h.ca, h.link.chain, now)
	if err != nil {
		return &estError{http.StatusForbidden, "the client certificate " + err.Error()}
	}
	if !again {
		if request.Subject.CommonName != leaf.Subject.CommonName {
			return &estError{http.StatusForbidden, fmt.Sprintf("%q may not enroll %q", leaf.Subject.CommonName, request.Subject.CommonName)}
		}
		return nil
	}
	if !own {
		return &estError{http.StatusForbidden, "the client certificate is not from this CA"}
	}
	if err := sameNames(request, leaf); err != nil {
		return &estError{http.StatusForbidden, err.Error()}
	}
	if t.TooEarly > 0 && leaf.NotAfter.Sub(now) > t.TooEarly {
		return &estError{http.StatusForbidden, "it is too early to renew"}
	}
	return nil
}

// judgeEST says why a certificate is not one to authenticate with at now, or nil, and whether it is from this CA.
func (c *Cloud) judgeEST(a *estCA, presented []*x509.Certificate, now time.Time) (own bool, err error) {
	leaf := presented[0]
	c.mu.Lock()
	roots, ours, revoked, outlived := a.trusted(), a.roots(), a.revoked[leaf.SerialNumber.String()], c.outlived(presented...)
	presented = slices.Concat(presented, a.intermediates(), []*x509.Certificate{c.pki.factory.issuing.cert})
	c.mu.Unlock()
	switch {
	case now.Before(leaf.NotBefore):
		return false, fmt.Errorf("is not valid before %s", leaf.NotBefore.UTC())
	case now.After(leaf.NotAfter):
		return false, fmt.Errorf("expired at %s", leaf.NotAfter.UTC())
	case revoked:
		return false, errors.New("is revoked")
	case outlived != nil:
		return false, outlived
	}
	chain, err := chainTo(presented, roots...)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(ours, chain[len(chain)-1].Equal), nil
}

// sameNames holds a request against the certificate that it renews, byte for byte (RFC 7030, 4.2.2).
func sameNames(r *x509.CertificateRequest, old *x509.Certificate) error {
	if !bytes.Equal(r.RawSubject, old.RawSubject) {
		return errors.New("the subject differs from that of the certificate")
	}
	if !bytes.Equal(altNames(r.Extensions), altNames(old.Extensions)) {
		return errors.New("the alternative names differ from those of the certificate")
	}
	return nil
}

func altNames(all []pkix.Extension) []byte {
	for _, e := range all {
		if e.Id.Equal(oidSubjectAltName) {
			return e.Value
		}
	}
	return nil
}
