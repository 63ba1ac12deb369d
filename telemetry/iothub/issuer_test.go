package iothub

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/provisioning"
	"github.com/devid-agent/devid-agent/sim"
	"github.com/devid-agent/devid-agent/telemetry"
)

// wantIssued holds a chain against the key and against the hub, which accepts only its own certificates from now on.
func (w *world) wantIssued(name string, chain []*x509.Certificate, err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
	id := w.stage(name, chain)
	w.cloud.CreateDevice(device, sim.Auth{})
	conn, err := w.hub.Dial(w.Context(), id)
	if err != nil {
		w.Fatalf("the hub refuses its own certificate: %v", err)
	}
	conn.Close()
	w.id = id
}

func (w *world) wantCertificates(n int) {
	w.Helper()
	if got := len(w.cloud.Issued(device)); got != n {
		w.Errorf("%d certificates issued, want %d", got, n)
	}
}

func TestHubCertifiesAKeyOverTheSessionThatCarriesTelemetry(t *testing.T) {
	inWorld(t, sim.Temper{IssueDelay: 3 * time.Minute}, func(w *world) {
		name, key := w.nextKey()
		conn, err := w.lend(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		done := make(chan error, 1)
		var chain []*x509.Certificate
		go func() {
			var err error
			chain, err = w.issuer().Issue(w.Context(), device, key)
			done <- err
		}()
		sent := 0
		for waiting := true; waiting; time.Sleep(time.Second) {
			select {
			case err = <-done:
				waiting = false
			default:
				n, err := sendEach(conn, records(1))
				if sent += n; err != nil {
					w.Fatalf("telemetry beside the request: %v", err)
				}
			}
		}
		w.wantIssued(name, chain, err)
		w.wantCertificates(1)
		synctest.Wait() // the cloud counts a session after it has answered
		if got := w.cloud.Count(device, sim.Connected); got != 2 || sent < 170 {
			w.Errorf("%d sessions, %d messages beside the request", got, sent)
		}
	})
}

func TestEachKeyGetsACertificateOfItsOwn(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		issuer := w.issuer()
		for range 3 {
			name, key := w.nextKey()
			chain, err := issuer.Issue(w.Context(), device, key)
			w.wantIssued(name, chain, err)
		}
		w.wantCertificates(3)
	})
}

func TestLostSessionsDoNotCostASecondCertificate(t *testing.T) {
	drop := func(at sim.Point) sim.Temper {
		return sim.Temper{Fault: func(p sim.Point, _ string, n int) error {
			if p == at && n <= 2 {
				return sim.ErrDrop
			}
			return nil
		}}
	}
	for name, temper := range map[string]sim.Temper{
		"request lost": drop(sim.AtIssue),
		"result lost":  {LostResult: 2},
		"result late":  {LostResult: 1, IssueDelay: 40 * time.Second},
	} {
		inWorld(t, temper, func(w *world) {
			key, signer := w.nextKey()
			chain, err := w.issuer().Issue(w.Context(), device, signer)
			w.wantIssued(key, chain, err)
			if got := len(w.cloud.Issued(device)); got != 1 {
				w.Errorf("%s: %d certificates for one CSR", name, got)
			}
		})
	}
}

func TestSessionLostWhileTheHubIssuesGoesOnInTheNext(t *testing.T) {
	inWorld(t, sim.Temper{IssueDelay: time.Minute}, func(w *world) {
		name, key := w.nextKey()
		time.AfterFunc(20*time.Second, func() { w.cloud.Disconnect(device) })
		start := time.Now()
		chain, err := w.issuer().Issue(w.Context(), device, key)
		if took := time.Since(start); took > 65*time.Second {
			w.Errorf("took %v", took)
		}
		w.wantIssued(name, chain, err)
		w.wantCertificates(1)
	})
}

func TestBusyHubIsAskedAgainAsItWishes(t *testing.T) {
	for name, s := range map[string]struct {
		temper sim.Temper
		atMost time.Duration
		least  time.Duration
	}{
		"throttled":            {sim.Temper{Throttle: 3, ThrottleWait: 10 * time.Second}, 35 * time.Second, 30 * time.Second},
		"server error":         {sim.Temper{Broken: 1}, 302 * time.Second, 300 * time.Second},
		"service unavailable":  {refusedOnce(503001), 7 * time.Second, 5 * time.Second},
		"throttled by backlog": {refusedOnce(429003), 3 * time.Second, time.Second},
	} {
		inWorld(t, s.temper, func(w *world) {
			key, signer := w.nextKey()
			start := time.Now()
			chain, err := w.issuer().Issue(w.Context(), device, signer)
			if took := time.Since(start); took < s.least || took > s.atMost {
				w.Errorf("%s: took %v", name, took)
			}
			w.wantIssued(key, chain, err)
			w.wantCertificates(1)
		})
	}
}

func refusedOnce(code int) sim.Temper { return refusals(code, 1) }

func refusals(code, times int) sim.Temper {
	return sim.Temper{Fault: func(p sim.Point, _ string, n int) error {
		if p == sim.AtIssue && n <= times {
			return &sim.Refusal{Code: code, Message: "no"}
		}
		return nil
	}}
}

func TestLongWaitIsHandedToTheCaller(t *testing.T) {
	inWorld(t, sim.Temper{Throttle: 1, ThrottleWait: time.Hour}, func(w *world) {
		_, key := w.nextKey()
		_, err := w.issuer().Issue(w.Context(), device, key)
		if fault.Of(err) != fault.Transient || fault.RetryAfter(err) != time.Hour {
			w.Errorf("%v %v: %v", fault.Of(err), fault.RetryAfter(err), err)
		}
	})
}

func TestRefusedRequestIsNotRepeatedUnchanged(t *testing.T) {
	for code, kind := range map[int]fault.Kind{
		400004: fault.Permanent, 400037: fault.Permanent, 400040: fault.Permanent, 404001: fault.Permanent, 412005: fault.Permanent,
		400001: fault.Operator, 403010: fault.Operator,
	} {
		inWorld(t, refusals(code, 99), func(w *world) {
			_, key := w.nextKey()
			_, err := w.issuer().Issue(w.Context(), device, key)
			refused, ok := errors.AsType[*ServiceError](err)
			if !ok || refused.Code != code || refused.TrackingID == "" || fault.Of(err) != kind {
				w.Errorf("%d: %v: %v", code, fault.Of(err), err)
			}
			if asked := w.cloud.Count(device, sim.Asked); asked != 1 {
				w.Errorf("%d: asked %d times", code, asked)
			}
		})
	}
}

func TestBadCSRIsPermanentAndANewOneIsMadeNextTime(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		name, key := w.nextKey()
		issuer := w.issuer()
		issuer.Request = func(ctx context.Context, _ string, key crypto.Signer) ([]byte, error) {
			return provisioning.SigningRequest(ctx, "other", key)
		}
		if _, err := issuer.Issue(w.Context(), device, key); fault.Of(err) != fault.Permanent {
			w.Errorf("%v: %v", fault.Of(err), err)
		}
		issuer.Request = provisioning.SigningRequest
		chain, err := issuer.Issue(w.Context(), device, key)
		w.wantIssued(name, chain, err)
	})
}

func TestHubWithoutCertificateManagementIsNamedAndNotAskedForEver(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		_, key := w.nextKey()
		_, err := w.issuer().Issue(w.Context(), device, key)
		if fault.Of(err) != fault.Operator || !strings.Contains(fault.Hint(err), "renewal.issuer") {
			w.Errorf("%v %q: %v", fault.Of(err), fault.Hint(err), err)
		}
		if lost := w.cloud.Count(device, sim.Connected); lost != kills {
			w.Errorf("it took %d sessions", lost)
		}
	}, func(c *Config) { c.APIVersion = "2021-04-12" })
}

func TestSilentHubIsTransientWithAHint(t *testing.T) {
	inWorld(t, sim.Temper{Fault: func(p sim.Point, _ string, _ int) error {
		if p == sim.AtIssue {
			return sim.ErrSilent
		}
		return nil
	}}, func(w *world) {
		_, key := w.nextKey()
		start := time.Now()
		_, err := w.issuer().Issue(w.Context(), device, key)
		if took := time.Since(start); fault.Of(err) != fault.Transient || fault.Hint(err) == "" || took > 6*time.Minute {
			w.Errorf("after %v: %v %q: %v", took, fault.Of(err), fault.Hint(err), err)
		}
	})
}

func TestDropsThatHaveNothingToDoWithTheRequestDoNotCondemnTheHub(t *testing.T) {
	inWorld(t, sim.Temper{IssueDelay: 90 * time.Second}, func(w *world) {
		name, key := w.nextKey()
		for i := range 8 {
			time.AfterFunc(time.Duration(i*10+5)*time.Second, func() { w.cloud.Disconnect(device) })
		}
		chain, err := w.issuer().Issue(w.Context(), device, key)
		w.wantIssued(name, chain, err)
		w.wantCertificates(1)
	})
}

func TestStopEndsTheIssuerAtOnce(t *testing.T) {
	inWorld(t, sim.Temper{IssueDelay: time.Hour}, func(w *world) {
		_, key := w.nextKey()
		ctx, cancel := context.WithCancel(w.Context())
		time.AfterFunc(time.Minute, cancel)
		start := time.Now()
		if _, err := w.issuer().Issue(ctx, device, key); !fault.Stopped(err) || time.Since(start) != time.Minute {
			w.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

// plain is a session of another kind.
type plain struct{ telemetry.Conn }

func TestSessionThatCannotIssueSaysSo(t *testing.T) {
	issuer := &Issuer{
		Lend:    func(context.Context) (telemetry.Conn, error) { return plain{}, nil },
		Request: func(context.Context, string, crypto.Signer) ([]byte, error) { return []byte("csr"), nil },
	}
	store := newStore(t, newKeys())
	_, key, err := store.NextKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := issuer.Issue(t.Context(), device, key); fault.Of(err) != fault.Permanent {
		t.Errorf("%v: %v", fault.Of(err), err)
	}
}

func TestRequestIDsAreAsTheHubTakesThem(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		id := requestID()
		if len(id) < 4 || len(id) > 36 || strings.Trim(id, "0123456789abcdef-") != "" || strings.Trim(id, "-") != id || seen[id] {
			t.Errorf("%q", id)
		}
		seen[id] = true
	}
}

func newStore(t *testing.T, hardware keys.Store) *identity.Store {
	t.Helper()
	store, err := identity.Open(t.Context(), t.TempDir(), hardware, nil)
	if err != nil {
		t.Fatal(err)
	}
	return store
}
