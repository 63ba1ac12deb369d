package iothub

import (
	"context"
	"crypto/x509"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/provisioning"
	"github.com/devid-agent/devid-agent/sim"
	"github.com/devid-agent/devid-agent/telemetry"
)

func TestRequestFromBeforeARestartIsReplaced(t *testing.T) {
	inWorld(t, sim.Temper{IssueDelay: 5 * time.Minute}, func(w *world) {
		_, key := w.nextKey()
		ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
		defer cancel()
		if _, err := w.issuer().Issue(ctx, device, key); err == nil {
			w.Fatal("issued early")
		}
		name, key := w.nextKey()
		chain, err := w.issuer().Issue(w.Context(), device, key)
		w.wantIssued(name, chain, err)
		w.wantCertificates(1)
	})
}

func TestResultThatNeverComesIsTransientAndTheNextCallGetsOne(t *testing.T) {
	inWorld(t, sim.Temper{NoResult: 1}, func(w *world) {
		name, key := w.nextKey()
		issuer := w.issuer()
		start := time.Now()
		_, err := issuer.Issue(w.Context(), device, key)
		if took := time.Since(start); fault.Of(err) != fault.Transient || fault.Stopped(err) || took != 10*time.Minute {
			w.Errorf("after %v: %v", took, err)
		}
		chain, err := issuer.Issue(w.Context(), device, key)
		w.wantIssued(name, chain, err)
	})
}

// mute is a session whose hub never concludes a request.
type mute struct {
	telemetry.Conn
	asked []Application
}

func (m *mute) Certify(ctx context.Context, a Application) ([]*x509.Certificate, error) {
	m.asked = append(m.asked, a)
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

func TestRequestThatHungForAWholeDeadlineIsReplacedAsItWas(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		hub := &mute{}
		issuer := &Issuer{Lend: func(context.Context) (telemetry.Conn, error) { return hub, nil }, Request: provisioning.SigningRequest}
		_, key := w.nextKey()
		for range 2 {
			if _, err := issuer.Issue(w.Context(), device, key); fault.Of(err) != fault.Transient {
				w.Errorf("%v", err)
			}
		}
		first, second := hub.asked[0], hub.asked[1]
		if first.Replace != "" || second.Replace != "*" || !second.Again || second.RequestID != first.RequestID || !slices.Equal(second.CSR, first.CSR) {
			w.Errorf("first %v %q, then %v %q", first.RequestID, first.Replace, second.RequestID, second.Replace)
		}
	})
}

func TestConflictWithOurOwnRequestIsWaitedOutAndNotReplaced(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		conn := w.dial().(*Conn)
		defer conn.Close()
		conflict := answer{status: 409, rid: "mine", body: []byte(`{"errorCode":409004,"info":{"requestId":"mine"}}`)}
		time.AfterFunc(time.Minute, func() { conn.box.put(answer{status: 400, rid: "mine", body: []byte(`{"errorCode":400037}`)}) })
		start := time.Now()
		_, err := conn.conclude(w.Context(), Application{RequestID: "mine"}, conflict)
		refused, ok := errors.AsType[*ServiceError](err)
		if !ok || refused.Code != 400037 || time.Since(start) != time.Minute {
			w.Errorf("after %v: %v", time.Since(start), err)
		}
		if _, err := conn.conclude(w.Context(), Application{RequestID: "other"}, conflict); !errors.As(err, &refused) || !refused.active() {
			w.Errorf("another's request: %v", err)
		}
	})
}

func TestConflictsGoOnUnderEitherCode(t *testing.T) {
	for _, code := range []int{codePending, codeActive} {
		inWorld(t, refusedOnce(code), func(w *world) {
			name, key := w.nextKey()
			chain, err := w.issuer().Issue(w.Context(), device, key)
			w.wantIssued(name, chain, err)
		})
	}
}
