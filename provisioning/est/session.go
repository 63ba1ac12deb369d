package est

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/mtls"
	"github.com/devid-agent/devid-agent/internal/web"
	"github.com/devid-agent/devid-agent/provisioning"
)

// answerTimeout is for one request, without the time that the hardware needs to sign.
const answerTimeout = time.Minute

// session is one Issue's conversation with the server.
type session struct {
	config Config
	task   task
	base   *url.URL
	link   *web.Link
}

func (c *Client) newSession(ctx context.Context, t task) (*session, error) {
	if err := c.config.Check(); err != nil {
		return nil, err
	}
	base, err := c.config.base()
	if err != nil {
		return nil, err
	}
	certificate, err := t.credential(ctx, c.config)
	if err != nil {
		return nil, err
	}
	s := &session{config: c.config, task: t, base: base}
	s.link = web.New(s.server(certificate))
	return s, nil
}

// server is whom to speak to, presenting mine.
func (s *session) server(mine *tls.Certificate) web.Config {
	return web.Config{
		Roots: s.config.Roots.Pool(), Certificate: mine, LeafOnly: s.config.LeafOnly,
		Settings: mtls.Settings{Host: "provisioning.est.url", Roots: "provisioning.est.roots"}, Identity: s.identityHint(),
		UserAgent: s.config.UserAgent, Timeout: answerTimeout, MaxAnswer: maxAnswer, Dial: s.config.Dial,
	}
}

func (s *session) close() { s.link.Close() }

// authorities returns the CA's certificates. Any status but 200 ends the enrollment (RFC 7030, 4.1.3).
func (s *session) authorities(ctx context.Context) ([]*x509.Certificate, error) {
	a, err := s.ask(ctx, http.MethodGet, "cacerts", nil)
	if err != nil {
		return nil, err
	}
	if a.Status != http.StatusOK {
		return nil, s.refused(a)
	}
	return a.certificates()
}

// wishes returns what the CA would like to see in a request. It may have none (RFC 8951, 4), or no such operation: an
// answer that cannot be read is no reason to stay without a certificate.
func (s *session) wishes(ctx context.Context) (wishes, error) {
	a, err := s.ask(ctx, http.MethodGet, "csrattrs", nil)
	switch {
	case err != nil:
		return wishes{}, err
	case a.Status == http.StatusTooManyRequests || a.Status == http.StatusServiceUnavailable:
		return wishes{}, s.refused(a)
	case a.Status != http.StatusOK:
		return wishes{}, nil
	}
	w, err := a.wishes()
	if err != nil {
		s.config.Log.Warn("the CA's wishes cannot be read, going on without", "err", err)
	}
	if len(w.others) > 0 {
		s.config.Log.Info("the CA wishes for attributes that this device does not send", "oids", fmt.Sprint(w.others))
	}
	return w, nil
}

// enroll returns the certificates that the server answers csr with, after the waits that it asks for.
func (s *session) enroll(ctx context.Context, csr []byte) ([]*x509.Certificate, error) {
	body := []byte(base64.StdEncoding.EncodeToString(csr)) // on one line: not every server takes line breaks
	op := s.task.op
	for {
		a, err := s.ask(ctx, http.MethodPost, op, body)
		switch {
		case err != nil:
			return nil, err
		case a.Status == http.StatusOK || a.Status == http.StatusCreated: // foundries.io's server says 201
			return a.certificates()
		case a.Status == http.StatusAccepted:
			if err := s.wait(ctx, a); err != nil {
				return nil, err
			}
		case a.absent() && op == SimpleReenroll:
			// Keytos renews its own clients by simpleenroll over mutual TLS; that its server has the other is not documented.
			s.config.Log.Info("the server has no simplereenroll, renewing by simpleenroll", "device", s.task.name, "status", a.Status)
			op = SimpleEnroll
		default:
			return nil, s.refused(a)
		}
	}
}

// wait sleeps as long as the server asks to. A wait that the deadline does not leave time for ends at once, and says
// how long it should be.
func (s *session) wait(ctx context.Context, a *answer) error {
	now := time.Now()
	d := web.Patience(a.After(now, pendingWait), now, s.task.end())
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d {
		return fault.Later(fmt.Errorf("%w, and the CA asks to wait %v", provisioning.ErrPending, d), d)
	}
	s.config.Log.Info("the CA has not decided yet", "device", s.task.name, "wait", d)
	s.link.Close()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// ask sends one request. HTTP Basic goes with what enrolls for the first time, and with nothing else unless the server
// insists.
func (s *session) ask(ctx context.Context, method, op string, body []byte) (*answer, error) {
	basic := method == http.MethodPost
	for {
		request, err := s.request(ctx, method, op, body, basic)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", op, err)
		}
		a, err := s.link.Do(ctx, request)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", op, err)
		}
		if a.Status != http.StatusUnauthorized || basic || s.config.Username == "" || s.task.old != nil {
			return &answer{a, op}, nil
		}
		basic = true
	}
}

func (s *session) request(ctx context.Context, method, op string, body []byte, basic bool) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, method, s.base.JoinPath(op).String(), bytes.NewReader(body))
	if err != nil {
		return nil, fault.As(fault.Permanent, err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/pkcs10") // without parameters: foundries.io's server compares it whole
		r.Header.Set("Content-Transfer-Encoding", "base64")
	}
	if !basic || s.config.Username == "" || s.config.Password == nil || s.task.old != nil {
		return r, nil
	}
	password, err := s.config.Password()
	if err == nil && password == "" {
		err = fault.AskOperator(errors.New("it is empty"), "put the password into the file that provisioning.est.password_file names")
	}
	if err != nil {
		return nil, fmt.Errorf("password of %s: %w", s.config.Username, err)
	}
	r.SetBasicAuth(s.config.Username, password)
	return r, nil
}
