package station

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/web"
)

// What services say of a thing that is asked for, wrapped, so that errors.Is finds them.
var (
	ErrAbsent  = errors.New("it does not exist")
	ErrTaken   = errors.New("it exists already")
	ErrChanged = errors.New("somebody has changed it since it was read")
)

// Client is how to reach a service.
type Client struct {
	Web   web.Config    // trust, proxy, timeouts
	Tries int           // for an answer, where time may help; 4 when zero
	Pause time.Duration // before the second try, doubled before each further one; 2 s when zero, as EZCA's own client has it
}

// service is JSON over HTTPS to one service. Its methods may be called side by side.
type service struct {
	name   string // in errors: hub, dps, ezca
	base   string // https://host[:port]
	client Client
	// authorize returns the value of the Authorization header; it is asked for each request.
	authorize func(ctx context.Context) (string, error)
	rights    string // remedy where the service says that we may not
	refusal   string // remedy where it says no to what was asked; may be empty

	mu   sync.Mutex
	idle []*web.Link // a Link does one request at a time
}

// call is one request.
type call struct {
	method, path string // the path is percent-encoded
	query        url.Values
	header       map[string]string
	body         any // JSON; none when nil
}

func newService(name, base string, c Client) *service {
	if c.Tries == 0 {
		c.Tries = 4
	}
	if c.Pause == 0 {
		c.Pause = 2 * time.Second
	}
	return &service{name: name, base: base, client: c}
}

// ask returns the answer of a service that did as it was asked: its status is from 200 to 299. Where time may help it
// asks again.
func (s *service) ask(ctx context.Context, c call) (*web.Answer, error) {
	pause := s.client.Pause
	for try := 1; ; try++ {
		a, err := s.once(ctx, c)
		if err == nil || try == s.client.Tries || fault.Of(err) != fault.Transient || fault.Stopped(err) {
			return a, err
		}
		if err := sleep(ctx, max(pause, fault.RetryAfter(err))); err != nil {
			return nil, err
		}
		pause *= 2
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *service) once(ctx context.Context, c call) (*web.Answer, error) {
	r, err := s.request(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	link := s.take()
	a, err := link.Do(ctx, r)
	s.give(link)
	if err == nil {
		err = s.verdict(a)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	return a, nil
}

func (s *service) request(ctx context.Context, c call) (*http.Request, error) {
	var body []byte
	if c.body != nil {
		var err error
		if body, err = json.Marshal(c.body); err != nil {
			return nil, err
		}
	}
	target := s.base + c.path
	if len(c.query) > 0 {
		target += "?" + c.query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, c.method, target, bytes.NewReader(body))
	if err != nil {
		return nil, fault.As(fault.Permanent, err)
	}
	r.Header.Set("Accept", "application/json")
	if c.body != nil {
		r.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	for name, value := range c.header {
		r.Header.Set(name, value)
	}
	token, err := s.authorize(ctx)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", token)
	return r, nil
}

func (s *service) take() *web.Link {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.idle); n > 0 {
		l := s.idle[n-1]
		s.idle = s.idle[:n-1]
		return l
	}
	return web.New(s.client.Web)
}

func (s *service) give(l *web.Link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle = append(s.idle, l)
}

// Close hangs up.
func (s *service) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.idle {
		l.Close()
	}
	s.idle = nil
}

// verdict says who can do something about an answer, or nil where it is a good one.
func (s *service) verdict(a *web.Answer) error {
	if err := a.Portal(); err != nil {
		return err
	}
	if a.Status >= 200 && a.Status < 300 {
		return nil
	}
	err := fmt.Errorf("%d: %s", a.Status, complaint(a))
	switch a.Status {
	case http.StatusUnauthorized:
		return fault.AskOperator(err, "check the credential, and the clock of this machine: tokens live a short time")
	case http.StatusForbidden:
		return fault.AskOperator(err, s.rights)
	case http.StatusNotFound:
		return fault.As(fault.Permanent, fmt.Errorf("%w: %w", ErrAbsent, err))
	case http.StatusConflict:
		return fault.As(fault.Permanent, fmt.Errorf("%w: %w", ErrTaken, err))
	case http.StatusPreconditionFailed:
		return fault.AskOperator(fmt.Errorf("%w: %w", ErrChanged, err), "look at it, and do it again")
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return fault.Later(err, a.After(time.Now(), 0))
	case http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway, http.StatusGatewayTimeout:
		return err
	}
	if s.refusal != "" {
		return fault.AskOperator(err, s.refusal)
	}
	return fault.As(fault.Permanent, err)
}

// complaint is what the service says in words. IoT Hub and DPS do so in JSON, each in its own way; the second shape of
// IoT Hub has its words in Message.
func complaint(a *web.Answer) string {
	var said struct {
		Message    string          `json:"message"`
		ErrorCode  json.RawMessage `json:"errorCode"`
		TrackingID string          `json:"trackingId"`
	}
	if json.Unmarshal(a.Body, &said) != nil || said.Message == "" {
		if q := a.Quote(); q != "" {
			return q
		}
		return http.StatusText(a.Status)
	}
	text := printable(said.Message)
	if code := strings.Trim(string(said.ErrorCode), `"`); code != "" && code != "null" {
		text += " (code " + printable(code) + ")"
	}
	if said.TrackingID != "" {
		text += ", tracking ID " + printable(said.TrackingID)
	}
	return text
}

// printable is one line of at most 300 characters, for a terminal that obeys control characters.
func printable(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == ' ' }), " ")
	if r := []rune(s); len(r) > 300 {
		return string(r[:300]) + "…"
	}
	return s
}

// read decodes the answer into v.
func (s *service) read(a *web.Answer, v any) error {
	if err := json.Unmarshal(a.Body, v); err != nil {
		return fmt.Errorf("%s: the answer: %w", s.name, err)
	}
	return nil
}

// escape is percent-encoding of one segment of a path, as Azure's own clients have it.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// quoted is an entity tag as HTTP has it (RFC 9110, 8.8.3); the bodies of IoT Hub and DPS have it without its quotes.
func quoted(etag string) string {
	if etag == "*" || strings.HasPrefix(etag, `"`) || strings.HasPrefix(etag, `W/"`) {
		return etag
	}
	return `"` + etag + `"`
}
