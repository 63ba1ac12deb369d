package ezca

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/web"
)

// maxCertificates is far above what a chain has.
const maxCertificates = 16

// answer is what the service said.
type answer struct {
	*web.Answer
	path string
}

// newAnswer takes the token out of what the service said, so that a service which repeats it does not put it into our
// log.
func newAnswer(path string, a *web.Answer, token string) *answer {
	for part := range strings.SplitSeq(token, ".") {
		if len(part) >= 16 {
			a.Body = bytes.ReplaceAll(a.Body, []byte(part), []byte("(token)"))
		}
	}
	return &answer{a, path}
}

// result is EZCA's envelope for a yes or no, which comes with status 200 also where it is a no.
type result struct {
	Success *bool
	Message *string
}

// issuedChain is what V3 and RequestSSLCertificateV2 answer with. RootCertificate may be missing or empty.
type issuedChain struct {
	CertificatePEM       string
	IssuingCACertificate string
	RootCertificate      string
}

// certificates reads an answer, in whichever of EZCA's shapes it comes: an envelope whose message is the certificate, an
// object with the chain, either of them as a JSON string once more, or the certificate itself. A *web.Refusal is a no.
func (a *answer) certificates() ([]*x509.Certificate, error) {
	if err := a.Portal(); err != nil {
		return nil, err
	}
	text := bytes.TrimSpace(a.Body)
	if len(text) == 0 {
		return nil, fault.As(fault.Permanent, errors.New("the answer is empty"))
	}
	certs, err := a.decode(text)
	if err == nil && len(certs) > maxCertificates {
		err = fmt.Errorf("%d certificates", len(certs))
	}
	if said, ok := errors.AsType[*web.Refusal](err); ok {
		return nil, said
	}
	if err != nil {
		return nil, fault.As(fault.Permanent, fmt.Errorf("read the answer %q: %w", a.Quote(), err))
	}
	return certs, nil
}

func (a *answer) decode(text []byte) ([]*x509.Certificate, error) {
	if inner, ok := unwrap(text); ok {
		text = inner
	}
	var r result
	if err := json.Unmarshal(text, &r); err == nil && r.Success != nil && r.Message != nil {
		if !*r.Success {
			return nil, a.no(*r.Message)
		}
		text = []byte(strings.TrimSpace(*r.Message))
	}
	var c issuedChain
	if err := json.Unmarshal(text, &c); err == nil {
		return c.certificates()
	}
	if strings.HasPrefix(strings.ToLower(string(text)), "error") {
		return nil, a.no(string(text))
	}
	return parseCertificates(string(text))
}

// no is a refusal in the service's words, on one line: EZCA has no codes.
func (a *answer) no(words string) *web.Refusal {
	said := web.Answer{Body: []byte(words)}
	return &web.Refusal{Asked: a.path, Status: a.Status, Text: said.Quote()}
}

// unwrap is the text in a JSON string.
func unwrap(text []byte) (inner []byte, ok bool) {
	var s string
	if text[0] != '"' || json.Unmarshal(text, &s) != nil {
		return nil, false
	}
	return []byte(strings.TrimSpace(s)), true
}

func (c issuedChain) certificates() ([]*x509.Certificate, error) {
	if strings.TrimSpace(c.CertificatePEM) == "" {
		return nil, errors.New("there is no certificate in it")
	}
	var all []*x509.Certificate
	for _, text := range []string{c.CertificatePEM, c.IssuingCACertificate, c.RootCertificate} {
		if strings.TrimSpace(text) == "" {
			continue
		}
		certs, err := parseCertificates(text)
		if err != nil {
			return nil, err
		}
		all = append(all, certs...)
	}
	return all, nil
}

// parseCertificates reads PEM, or one certificate in base64 without PEM's lines, as Keytos' own client does.
func parseCertificates(text string) ([]*x509.Certificate, error) {
	if !strings.Contains(text, "-----BEGIN") {
		der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
		if err != nil || len(der) == 0 {
			return nil, errors.New("it is no certificate")
		}
		x, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("it is no certificate: %w", err)
		}
		return []*x509.Certificate{x}, nil
	}
	all, err := identity.ParseChain([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("it is no certificate: %w", err)
	}
	return all, nil
}
