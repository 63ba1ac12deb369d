package ezca

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/mtls"
	"github.com/devid-agent/devid-agent/internal/web"
)

// session is one Issue's conversation with the service. The device presents no certificate in TLS: EZCA's REST
// interface does not ask for one.
type session struct {
	client *Client
	config Config
	task   task
	base   *url.URL
	link   *web.Link
	csr    string
}

func (c *Client) newSession(t task) (*session, error) {
	if err := c.config.Check(); err != nil {
		return nil, err
	}
	base, err := c.config.base()
	if err != nil {
		return nil, err
	}
	s := &session{client: c, config: c.config, task: t, base: base}
	s.link = web.New(web.Config{
		Roots: c.config.Roots.Pool(), Settings: mtls.Settings{Host: "provisioning.ezca.url", Roots: "provisioning.ezca.roots"},
		UserAgent: c.config.UserAgent, NoRedirects: true, Dial: c.config.Dial,
	})
	return s, nil
}

// first gets a certificate for the token that was handed over, and removes the token then.
func (s *session) first(ctx context.Context) ([]*x509.Certificate, error) {
	token, err := s.config.handedOver()
	if chain := s.client.again(token, s.task); chain != nil {
		return chain, nil
	}
	if err != nil {
		return nil, err
	}
	csr, err := s.task.sign()
	if err != nil {
		return nil, err
	}
	a, err := s.post(ctx, pathFirst, token, s.task.first(s.config, csr))
	if err != nil {
		return nil, err
	}
	chain, err := s.chain(a)
	if err != nil {
		return nil, err
	}
	s.client.used(token, chain)
	return chain, nil
}

// renew gets a successor of the certificate in force, with the newest version that the service has.
func (s *session) renew(ctx context.Context) (chain []*x509.Certificate, err error) {
	if err := checkKeys(s.task.old.PublicKey, s.task.request.Key.Public()); err != nil {
		return nil, err
	}
	if s.csr, err = s.task.sign(); err != nil {
		return nil, err
	}
	api := s.config.API
	a, err := s.renewBy(ctx, api)
	if err == nil && a.Status == http.StatusNotFound && api == V3 {
		s.config.Log.Info("the service has no RenewCertificateV3, renewing by V2", "device", s.task.name)
		a, err = s.renewBy(ctx, V2)
	}
	if err != nil {
		return nil, err
	}
	return s.chain(a)
}

// renewBy asks once, and once more where the token could not be good by the service's clock: a device without a battery
// may be years off, and the Date of an answer that TLS vouches for is the best it has.
func (s *session) renewBy(ctx context.Context, api string) (*answer, error) {
	if api != V3 && len(s.above()) == 0 {
		return nil, fault.AskOperator(fmt.Errorf("a renewal by %s brings the certificate alone, and nothing above it is known", api),
			"put the CA certificates of EZCA into a file, and set provisioning.ezca.issuers to it")
	}
	valid := around(time.Now(), s.config.TokenLife)
	a, err := s.renewDuring(ctx, api, valid)
	if err != nil || a.Status != http.StatusUnauthorized {
		return a, err
	}
	now, err := http.ParseTime(a.Header.Get("Date"))
	if err != nil || valid.holds(now) {
		return a, nil
	}
	s.config.Log.Warn("the clocks of device and service differ, asking again by the service's", "device", s.task.name,
		"service", now, "here", time.Now().UTC())
	return s.renewDuring(ctx, api, around(now, s.config.TokenLife))
}

func (s *session) renewDuring(ctx context.Context, api string, v validity) (*answer, error) {
	token, err := mint(s.task.old, s.task.request.Current.Signer(), s.config.Audience, v)
	if err != nil {
		return nil, err
	}
	return s.post(ctx, renewalPaths[api], token, s.task.renewal(s.config, api, s.csr))
}

// post sends one request. Nothing is sent twice here: whoever calls Issue has a backoff, and each request may cost a
// certificate.
func (s *session) post(ctx context.Context, path, token string, body any) (*answer, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, fault.As(fault.Permanent, err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.base.JoinPath(path).String(), bytes.NewReader(text))
	if err != nil {
		return nil, fault.As(fault.Permanent, err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	a, err := s.link.Do(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return newAnswer(path, a, token), nil
}

// above are the authorities that are known without the service's answer.
func (s *session) above() []*x509.Certificate {
	known := s.config.Issuers
	if s.task.old != nil {
		known = append(known[:len(known):len(known)], s.task.request.Current.Chain[1:]...)
	}
	return known
}

// chain is what the answer brings, held against what was asked for.
func (s *session) chain(a *answer) ([]*x509.Certificate, error) {
	if a.Status != http.StatusOK && a.Status != http.StatusCreated {
		return nil, s.refused(a)
	}
	issued, err := a.certificates()
	if said, ok := errors.AsType[*web.Refusal](err); ok {
		return nil, s.denied(said)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.path, err)
	}
	chain, err := s.task.chain(issued, s.above())
	if err != nil {
		return nil, err
	}
	s.task.compare(chain[0], s.config.Log)
	return chain, nil
}
