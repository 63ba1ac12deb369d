package dps

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/mqtt"
	"github.com/devid-agent/devid-agent/internal/mtls"
	"github.com/devid-agent/devid-agent/provisioning"
	"github.com/devid-agent/devid-agent/sim"
)

func TestEnrollBringsACertificateForTheKeyAndAHub(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		w.wantGrant(w.enroll())
		if n := len(w.cloud.Issued(device)); n != 1 {
			w.Errorf("%d certificates issued", n)
		}
	})
}

func TestAssignPlacesTheDeviceByItsOwnCertificate(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		a, err := New(w.config).Assign(w.Context(), w.bootstrap)
		if err != nil || a != (identity.Assignment{DeviceID: device, Hub: sim.HubHost}) {
			w.Errorf("%+v, %v", a, err)
		}
		if n := len(w.cloud.Issued(device)); n != 0 {
			w.Errorf("%d certificates issued that nobody asked for", n)
		}
	})
}

func TestAnsweredDeviceIDMayDifferFromTheRegistrationID(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		w.cloud.Enroll(sim.Enrollment{Registration: device, DeviceID: "Other"})
		w.wantGrant(w.enroll())
		if g, _ := w.enroll(); g.DeviceID != "Other" {
			w.Errorf("device ID %q", g.DeviceID)
		}
	})
}

func TestEnrollKeepsPaceThroughALongAssignment(t *testing.T) {
	for _, after := range []time.Duration{-1, 0, time.Second, 7 * time.Second} {
		inWorld(t, sim.Temper{Assigning: 90 * time.Second, RetryAfter: after, Swapped: true}, func(w *world) {
			start := time.Now()
			w.wantGrant(w.enroll())
			if n := w.cloud.Count(device, sim.Answered); n != 0 {
				w.Errorf("retry-after %v: %d polls too many: %v", after, n, w.cloud.Events())
			}
			if took := time.Since(start); took > 100*time.Second {
				w.Errorf("retry-after %v: took %v", after, took)
			}
		})
	}
}

func TestRetryAfterIsAFloorForPolls(t *testing.T) {
	inWorld(t, sim.Temper{Assigning: time.Minute, RetryAfter: 11 * time.Second}, func(w *world) {
		w.wantGrant(w.enroll())
		var last time.Time
		for _, e := range w.cloud.Events() {
			if e.Kind != sim.Polled && e.Kind != sim.Registering {
				continue
			}
			if gap := e.Time.Sub(last); gap < 11*time.Second {
				w.Errorf("asked again after %v", gap)
			}
			last = e.Time
		}
	})
}

func TestAssigningForEverEndsAtTheDeadlineAsTransient(t *testing.T) {
	inWorld(t, sim.Temper{Assigning: 24 * time.Hour}, func(w *world) {
		start := time.Now()
		_, err := w.enroll()
		if took := time.Since(start); fault.Of(err) != fault.Transient || fault.Stopped(err) || took > 5*time.Minute+time.Second {
			w.Errorf("after %v: %v: %v", took, fault.Of(err), err)
		}
	})
}

func TestBusyServiceIsAskedAgainAndThenAnswers(t *testing.T) {
	for name, temper := range map[string]sim.Temper{
		"throttled": {Throttle: 3, ThrottleWait: 5 * time.Second},
		"broken":    {Broken: 3},
	} {
		inWorld(t, temper, func(w *world) {
			w.wantGrant(w.enroll())
			if n := len(w.cloud.Issued(device)); n != 1 {
				w.Errorf("%s: %d certificates for one CSR", name, n)
			}
		})
	}
}

func TestLongThrottlingIsHandedToTheCallerWithItsWait(t *testing.T) {
	inWorld(t, sim.Temper{Throttle: 1, ThrottleWait: 20 * time.Minute}, func(w *world) {
		start := time.Now()
		_, err := w.enroll()
		if fault.Of(err) != fault.Transient || fault.RetryAfter(err) != 20*time.Minute || time.Since(start) > time.Minute {
			w.Errorf("%v %v after %v: %v", fault.Of(err), fault.RetryAfter(err), time.Since(start), err)
		}
	})
}

func TestLostConnectionWhilePollingDoesNotCostASecondCertificate(t *testing.T) {
	for _, point := range []sim.Point{sim.AtPoll, sim.AtAssigned} {
		for _, how := range []error{sim.ErrDrop, sim.ErrSilent} {
			inWorld(t, sim.Temper{Fault: func(p sim.Point, _ string, n int) error {
				if p == point && n == 1 {
					return how
				}
				return nil
			}}, func(w *world) {
				w.wantGrant(w.enroll())
				if n := len(w.cloud.Issued(device)); n != 1 {
					w.Errorf("%v at %s: %d certificates for one CSR", how, point, n)
				}
			})
		}
	}
}

func TestRefusalsSayWhoCanHelp(t *testing.T) {
	stories := map[string]struct {
		temper  sim.Temper
		prepare func(w *world)
		kind    fault.Kind
		words   string // in error or hint
	}{
		"disabled enrollment":  {prepare: func(w *world) { w.cloud.DisableEnrollment(device) }, kind: fault.Operator, words: "enable the enrollment"},
		"no enrollment":        {temper: sim.Temper{FailedBy: 404201}, kind: fault.Operator, words: "create the enrollment for registration ID " + device},
		"foreign certificate":  {temper: sim.Temper{FailedBy: 401002}, kind: fault.Operator, words: "verify the CA"},
		"forbidden":            {temper: sim.Temper{FailedBy: 403001}, kind: fault.Operator, words: "verify the CA"},
		"bad request":          {temper: sim.Temper{FailedBy: 400004}, kind: fault.Permanent, words: "400004"},
		"conflict":             {temper: sim.Temper{FailedBy: 409001}, kind: fault.Permanent, words: "409001"},
		"allocation failed":    {temper: sim.Temper{FailedBy: 400207}, kind: fault.Permanent, words: "Custom allocation failed"},
		"wrong scope":          {prepare: func(w *world) { w.config.IDScope = "0ne00OTHER" }, kind: fault.Operator, words: "id_scope"},
		"enrollments are gone": {prepare: func(w *world) { w.cloud.RemoveEnrollments() }, kind: fault.Operator, words: "enrollment"},
		"no policy": {
			prepare: func(w *world) { w.cloud.Enroll(sim.Enrollment{CA: w.cloud.FactoryCA(), NoPolicy: true}) },
			kind:    fault.Permanent, words: "certificate policy"},
		"expired bootstrap": {
			prepare: func(w *world) { time.Sleep(2 * 365 * 24 * time.Hour) },
			kind:    fault.Operator, words: "in date"},
		"expired bootstrap, seen by TLS": {
			temper:  sim.Temper{RefuseInHandshake: true},
			prepare: func(w *world) { time.Sleep(2 * 365 * 24 * time.Hour) },
			kind:    fault.Operator, words: "in date"},
		"bootstrap of another device": {
			prepare: func(w *world) { w.bootstrap = w.factory("gateway-2") },
			kind:    fault.Operator, words: "device.id"},
		"no CSR in this version": {
			prepare: func(w *world) { w.config.APIVersion = "2021-06-01" },
			kind:    fault.Operator, words: "provisioning.dps.api_version"},
	}
	for name, s := range stories {
		t.Run(name, func(t *testing.T) {
			inWorld(t, s.temper, func(w *world) {
				if s.prepare != nil {
					s.prepare(w)
				}
				_, err := w.enroll()
				if err == nil {
					w.Fatal("enrolled")
				}
				if text := err.Error() + " | " + fault.Hint(err); fault.Of(err) != s.kind || !strings.Contains(text, s.words) {
					w.Errorf("%v: %s", fault.Of(err), text)
				}
				if n := w.cloud.Refusals(""); n > 1 {
					w.Errorf("refused %d times: %v", n, w.cloud.Events())
				}
			})
		})
	}
}

func TestUnreachableServiceIsTransientAndTold(t *testing.T) {
	inWorld(t, sim.Temper{Offline: true}, func(w *world) {
		start := time.Now()
		if _, err := w.enroll(); fault.Of(err) != fault.Transient || err == nil || time.Since(start) > time.Minute {
			w.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

func TestServiceThatSaysNothingEndsAsTransient(t *testing.T) {
	inWorld(t, sim.Temper{Fault: func(p sim.Point, _ string, _ int) error {
		if p == sim.AtRegister {
			return sim.ErrSilent
		}
		return nil
	}}, func(w *world) {
		start := time.Now()
		_, err := w.enroll()
		if took := time.Since(start); fault.Of(err) != fault.Transient || err == nil || took > answerTimeout+3*time.Second {
			w.Errorf("after %v: %v: %v", took, fault.Of(err), err)
		}
	})
}

func TestStopIsPrompt(t *testing.T) {
	inWorld(t, sim.Temper{Assigning: time.Hour}, func(w *world) {
		ctx, cancel := context.WithCancel(w.Context())
		time.AfterFunc(10*time.Second, cancel)
		start := time.Now()
		_, err := New(w.config).Enroll(ctx, provisioning.Request{DeviceID: device, Key: w.key})
		if !fault.Stopped(err) || time.Since(start) > 12*time.Second {
			w.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

func TestEnrollOverTCPAsTheServiceIsReached(t *testing.T) {
	for _, old := range []bool{false, true} {
		cloud, err := sim.Start(t.Context(), sim.Temper{TLS12Only: old})
		if err != nil {
			t.Fatal(err)
		}
		defer cloud.Close()
		w := &world{T: t, cloud: cloud, key: newKey(t)}
		w.bootstrap = w.factory(device)
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(cloud.RootsPEM())
		w.config = Config{IDScope: sim.IDScope, Roots: mtls.Fixed(roots), Connect: cloud.DPSAddr(),
			Bootstrap: func(context.Context) (tls.Certificate, error) { return w.bootstrap, nil }}
		w.wantGrant(w.enroll())
	}
}

func TestUnknownConnectionProfileStopsAndDoesNotGuess(t *testing.T) {
	s := state{AssignedHub: "h", DeviceID: "d", ConnectionProfile: "mqttV5"}
	r := &registration{}
	if _, err := r.finished(operation{Status: "assigned", State: s}); fault.Of(err) != fault.Permanent {
		t.Errorf("%v", err)
	}
	s.ConnectionProfile = "classic"
	if done, err := r.finished(operation{Status: "assigned", State: s}); !done || err != nil {
		t.Errorf("classic: %v", err)
	}
}

func TestDialFailureKeepsItsCause(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		w.config.Dial = func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.DNSError{Err: "no such host", IsNotFound: true}
		}
		_, err := w.enroll()
		if _, ok := errors.AsType[*net.DNSError](err); !ok {
			w.Errorf("%v", err)
		}
		if errors.Is(err, mqtt.ErrLost) {
			w.Error("a connection that never was counts as lost")
		}
	})
}
