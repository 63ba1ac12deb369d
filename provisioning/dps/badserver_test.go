package dps

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/mtls"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
)

// pipes is a listener in memory.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	conn, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}
func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p pipes) dial(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	p <- there
	return here, nil
}

// atServer runs story in virtual time with a server in place of the service.
func atServer(t *testing.T, serve http.HandlerFunc, story func(t *testing.T, c Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ca := keystest.NewAuthority(t)
		key, err := keystest.Generate(keys.ECDSAP256)
		if err != nil {
			t.Fatal(err)
		}
		wire := make(pipes)
		server := &http.Server{Handler: serve, ErrorLog: log.New(io.Discard, "", 0)}
		secure := &tls.Config{Certificates: []tls.Certificate{ca.Certify(t, "dps.test", key)}, ClientAuth: tls.RequestClientCert}
		go func() { _ = server.Serve(tls.NewListener(wire, secure)) }()
		defer func() { close(wire); server.Close() }()
		story(t, Config{Endpoint: "dps.test", IDScope: "0ne00TEST", Roots: mtls.Fixed(ca.Pool), Transport: HTTPS, Dial: wire.dial,
			SharedKey: func(context.Context) ([]byte, error) { return deviceKey, nil }})
	})
}

const assigned = `{"operationId":"4.a.b","status":"assigned","registrationState":{"registrationId":"gateway-1","assignedHub":"h.test","deviceId":"gateway-1","status":"assigned"}}`

func TestRequestsAreThoseOfThePublishedAPI(t *testing.T) {
	var seen []string
	atServer(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seen = append(seen, fmt.Sprintf("%s %s %s", r.Method, r.URL.RequestURI(), body))
		for name, want := range map[string]string{"Accept": "application/json", "User-Agent": "devid/1", "Authorization": "SharedAccessSignature sr=0ne00TEST%2Fregistrations%2Fgateway-1&sig="} {
			if got := r.Header.Get(name); !strings.HasPrefix(got, want) {
				t.Errorf("%s: %q", name, got)
			}
		}
		if r.Host != "dps.test" || r.Header.Get("Request-Id") == "" {
			t.Errorf("%s %v", r.Host, r.Header)
		}
		if r.Method == http.MethodPut {
			if got := r.Header.Get("Content-Type"); got != "application/json; charset=utf-8" {
				t.Errorf("Content-Type %q", got)
			}
			w.Header().Set("Retry-After", "3")
			w.WriteHeader(http.StatusAccepted)
			_, _ = io.WriteString(w, `{"operationId":"4.a.b","status":"assigning"}`)
			return
		}
		_, _ = io.WriteString(w, assigned)
	}, func(t *testing.T, c Config) {
		c.UserAgent, c.APIVersion = "devid/1", "2019-03-31"
		start := time.Now()
		a, err := New(c).Place(t.Context(), device)
		if err != nil || a.Hub != "h.test" || time.Since(start) < 3*time.Second {
			t.Errorf("%+v, %v after %v", a, err, time.Since(start))
		}
	})
	want := []string{
		`PUT /0ne00TEST/registrations/gateway-1/register?api-version=2019-03-31 {"registrationId":"gateway-1"}`,
		`GET /0ne00TEST/registrations/gateway-1/operations/4.a.b?api-version=2019-03-31 `,
	}
	if strings.Join(seen, "\n") != strings.Join(want, "\n") {
		t.Errorf("asked\n%s", strings.Join(seen, "\n"))
	}
}

func TestAnswerOfNoServiceIsRefusedInWordsAndNotAskedForAgain(t *testing.T) {
	for name, s := range map[string]struct {
		status  int
		header  http.Header
		content string
		kind    fault.Kind
		words   string
	}{
		"captive portal":      {200, http.Header{"Content-Type": {"text/html"}}, "<html>Welcome", fault.Operator, "web page"},
		"portal that refuses": {403, http.Header{"Content-Type": {"text/html"}}, "<html>No", fault.Operator, "web page"},
		"elsewhere":           {307, http.Header{"Location": {"https://login.test/"}}, "", fault.Operator, "https://login.test"},
		"same place":          {307, http.Header{"Location": {"/x"}}, "", fault.Permanent, "sends us"},
		"no JSON":             {200, nil, "ok", fault.Permanent, "read the answer"},
		"nothing":             {204, nil, "", fault.Permanent, "read the answer"},
		"endless":             {200, nil, strings.Repeat(" ", 2<<20), fault.Permanent, "more than"},
		"no hub":              {200, nil, `{"status":"assigned","registrationState":{"deviceId":"d"}}`, fault.Permanent, "no hub"},
		"strange status":      {200, nil, `{"status":"perhaps"}`, fault.Permanent, `"perhaps"`},
		"no operation":        {202, nil, `{"status":"assigning"}`, fault.Permanent, "names no operation"},
		"evil operation":      {202, nil, `{"status":"assigning","operationId":"../../x?y"}`, fault.Permanent, "cannot be asked for"},
		"challenge to a key":  {401, nil, `{"authenticationKey":"AAAA","keyName":"registration"}`, fault.Operator, "symmetric_key"},
		"error without words": {400, nil, "", fault.Permanent, "400"},
	} {
		asked := 0
		atServer(t, func(w http.ResponseWriter, r *http.Request) {
			asked++
			for k, v := range s.header {
				w.Header()[k] = v
			}
			w.WriteHeader(s.status)
			_, _ = io.WriteString(w, s.content)
		}, func(t *testing.T, c Config) {
			_, err := New(c).Place(t.Context(), device)
			if text := fmt.Sprint(err, " | ", fault.Hint(err)); fault.Of(err) != s.kind || !strings.Contains(text, s.words) {
				t.Errorf("%s: %v: %s", name, fault.Of(err), text)
			}
		})
		if asked != 1 {
			t.Errorf("%s: asked %d times", name, asked)
		}
	}
}

func TestGatewayThatIsBusyIsPatientlyAskedAgain(t *testing.T) {
	var times []time.Time
	atServer(t, func(w http.ResponseWriter, r *http.Request) {
		times = append(times, time.Now())
		switch len(times) {
		case 1:
			w.Header().Set("Content-Type", "text/html")
			w.Header().Set("Retry-After", "20")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, "<html>busy")
		case 2:
			w.WriteHeader(http.StatusBadGateway)
		default:
			_, _ = io.WriteString(w, assigned)
		}
	}, func(t *testing.T, c Config) {
		if _, err := New(c).Place(t.Context(), device); err != nil {
			t.Error(err)
		}
	})
	if len(times) != 3 || times[1].Sub(times[0]) < 20*time.Second || times[2].Sub(times[1]) < defaultDelay {
		t.Errorf("asked at %v", times)
	}
}

// box is a TPM that takes everything.
type box struct{ took [][]byte }

func (b *box) Endorsement(context.Context) (ek, srk []byte, err error) {
	return []byte("ek"), []byte("srk"), nil
}
func (b *box) Activate(_ context.Context, _ string, blob []byte) error {
	b.took = append(b.took, blob)
	return nil
}
func (b *box) HMAC(context.Context, string, []byte) ([]byte, error) { return []byte("sum"), nil }

func TestChallengeThatIsNoneIsARefusal(t *testing.T) {
	for name, s := range map[string]struct {
		body  string
		took  int
		asked int
	}{
		"error object":     {`{"errorCode":401002,"message":"Unauthorized"}`, 0, 1},
		"no key":           {`{"authenticationKey":"","keyName":"registration"}`, 0, 1},
		"key of no base64": {`{"authenticationKey":"*"}`, 0, 1},
		"nothing":          {``, 0, 1},
		"again and again":  {`{"authenticationKey":"AAAA","keyName":"registration"}`, 1, 2},
	} {
		asked, chip := 0, &box{}
		atServer(t, func(w http.ResponseWriter, r *http.Request) {
			if asked++; asked == 1 && r.Header.Get("Authorization") != "" {
				t.Error("a token before the challenge")
			}
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, s.body)
		}, func(t *testing.T, c Config) {
			c.SharedKey, c.TPM = nil, chip
			if _, err := New(c).Place(t.Context(), device); fault.Of(err) != fault.Operator || !strings.Contains(fault.Hint(err), "ZWs=") {
				t.Errorf("%s: %v: %v", name, fault.Of(err), err)
			}
		})
		if asked != s.asked || len(chip.took) != s.took {
			t.Errorf("%s: asked %d times, activated %d keys", name, asked, len(chip.took))
		}
	}
}

func TestPlaceOfATPMWithoutAKeyForTheHubIsNone(t *testing.T) {
	atServer(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, assigned) }, func(t *testing.T, c Config) {
		c.SharedKey, c.TPM = nil, &box{}
		if _, err := New(c).Place(t.Context(), device); fault.Of(err) != fault.Permanent || !strings.Contains(err.Error(), "key for hub h.test") {
			t.Errorf("%v: %v", fault.Of(err), err)
		}
	})
}

func TestTokenIsMadeAgainBeforeItIsTooOld(t *testing.T) {
	tokens := map[string]bool{}
	start := time.Time{}
	atServer(t, func(w http.ResponseWriter, r *http.Request) {
		if start.IsZero() {
			start = time.Now()
		}
		tokens[r.Header.Get("Authorization")] = true
		if time.Since(start) > 54*time.Minute {
			_, _ = io.WriteString(w, assigned)
			return
		}
		w.Header().Set("Retry-After", "120")
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, `{"operationId":"4.a.b","status":"assigning"}`)
	}, func(t *testing.T, c Config) {
		c.Deadline = 59 * time.Minute
		if _, err := New(c).Place(t.Context(), device); err != nil {
			t.Error(err)
		}
	})
	if len(tokens) != 2 {
		t.Errorf("%d tokens in an hour", len(tokens))
	}
}
