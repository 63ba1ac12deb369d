package dps

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/mtls"
	"github.com/devid-agent/devid-agent/internal/web"
)

// overHTTPS is a session in HTTPS ("Runtime Registration" of the service's device API).
type overHTTPS struct {
	link   *web.Link
	client *Client
	id     string
	proof  proof
}

func (r *registration) overHTTPS() session {
	c := r.client.config
	config := web.Config{
		Roots: c.Roots.Pool(), Settings: mtls.Settings{Host: "provisioning.dps.endpoint", Roots: "provisioning.dps.roots"},
		Identity: r.remedy(), UserAgent: c.UserAgent, Timeout: answerTimeout, NoRedirects: true, Dial: c.Dial, Connect: c.Connect,
	}
	if cert := r.proof.certificate(); len(cert.Certificate) > 0 {
		config.Certificate = &cert
	}
	return &overHTTPS{link: web.New(config), client: r.client, id: r.id, proof: r.proof}
}

func (s *overHTTPS) ask(ctx context.Context, operation string, body []byte) (answer, error) {
	r, err := s.request(ctx, operation, body)
	if err != nil {
		return answer{}, err
	}
	got, err := s.link.Do(ctx, r)
	if err != nil {
		return answer{}, err
	}
	const longest = 24 * time.Hour // that a Retry-After can mean
	a := answer{status: got.Status, after: min(got.After(time.Now(), 0), longest), body: got.Body}
	if portal := got.Portal(); portal != nil && !a.transient() {
		return answer{}, fmt.Errorf("the service answers %d: %w", got.Status, portal)
	}
	return a, nil
}

func (s *overHTTPS) request(ctx context.Context, operation string, body []byte) (*http.Request, error) {
	token, err := s.proof.token(ctx)
	if err != nil {
		return nil, err
	}
	method, path := http.MethodPut, "/register"
	if operation != "" {
		method, path, body = http.MethodGet, "/operations/"+operation, nil
	}
	target := url.URL{Scheme: "https", Host: s.client.config.Endpoint, Path: "/" + s.client.resource(s.id) + path,
		RawQuery: url.Values{"api-version": {s.client.config.APIVersion}}.Encode()}
	r, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fault.As(fault.Permanent, err)
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	r.Header.Set("Request-Id", requestID())
	if token != "" {
		r.Header.Set("Authorization", token)
	}
	return r, nil
}

func (s *overHTTPS) close() { s.link.Close() }
