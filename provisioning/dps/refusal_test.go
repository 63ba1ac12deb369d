package dps

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/sim"
)

func TestRefusalsOfASharedKeyNameWhereItComesFrom(t *testing.T) {
	const source = "/etc/devid-agent/group.key"
	for name, s := range map[string]struct {
		prepare func(w *world)
		words   []string
	}{
		"wrong key": {func(w *world) {
			w.cloud.Enroll(sim.Enrollment{Registration: device, SymmetricKey: groupKey})
		}, []string{source, device, "clock"}},
		"no enrollment": {func(w *world) { w.cloud.RemoveEnrollments() }, []string{"enrollment", device, "id_scope"}},
		"disabled": {func(w *world) {
			w.cloud.Enroll(sim.Enrollment{Registration: device, SymmetricKey: deviceKey, Disabled: true})
		}, []string{"enable the enrollment"}},
		"a certificate is wanted": {func(w *world) {
			w.cloud.Enroll(sim.Enrollment{Registration: device, Certificate: w.bootstrap.Leaf})
		}, []string{source}},
		"empty file": {func(w *world) { w.withKey([]byte{}) }, []string{source, "empty"}},
	} {
		inWorld(t, sim.Temper{}, func(w *world) {
			w.withKey(deviceKey)
			w.config.KeySource = source
			s.prepare(w)
			_, err := w.place()
			text := fmt.Sprint(err, " | ", fault.Hint(err))
			if fault.Of(err) != fault.Operator || w.cloud.Refusals("") > 1 {
				w.Errorf("%s: %v after %d refusals: %s", name, fault.Of(err), w.cloud.Refusals(""), text)
			}
			for _, word := range s.words {
				if !strings.Contains(text, word) {
					w.Errorf("%s: no %q in %s", name, word, text)
				}
			}
			if strings.Contains(text, "SharedAccessSignature") {
				w.Errorf("%s: the token is in %s", name, text)
			}
		})
	}
}

func TestEveryCodeOfTheServiceHasItsKindAndWords(t *testing.T) {
	for code, want := range map[int]struct {
		kind  fault.Kind
		words string
	}{
		400004: {fault.Permanent, "payload"}, 401002: {fault.Operator, "verify the CA"}, 403001: {fault.Operator, "verify the CA"},
		404201: {fault.Operator, "create the enrollment"}, 405000: {fault.Permanent, "provisioning.dps.endpoint"},
		409001: {fault.Permanent, "registration record"}, 412001: {fault.Permanent, "registration record"},
		415000: {fault.Permanent, "provisioning.dps.endpoint"}, 428000: {fault.Permanent, "428000"},
	} {
		for _, point := range []sim.Point{sim.AtRegister, sim.AtPoll} {
			if code == 404201 && point == sim.AtPoll {
				continue // the operation is forgotten: another story
			}
			inWorld(t, sim.Temper{Fault: refuseAt(point, code)}, func(w *world) {
				_, err := w.place()
				if text := fmt.Sprint(err, " | ", fault.Hint(err)); fault.Of(err) != want.kind || !strings.Contains(text, want.words) {
					w.Errorf("%d at %s: %v: %s", code, point, fault.Of(err), text)
				}
				if e, ok := errors.AsType[*ServiceError](err); !ok || e.Code != code || e.TrackingID == "" {
					w.Errorf("%d at %s: %+v", code, point, e)
				}
				if n := w.cloud.Refusals("", point); n != 1 {
					w.Errorf("%d at %s: asked %d times", code, point, n)
				}
			})
		}
	}
}

func refuseAt(point sim.Point, code int) func(sim.Point, string, int) error {
	return func(p sim.Point, _ string, _ int) error {
		if p == point {
			return &sim.Refusal{Code: code, Message: "No."}
		}
		return nil
	}
}

func TestForgottenOperationIsBegunAnew(t *testing.T) {
	inWorld(t, sim.Temper{Fault: func(p sim.Point, _ string, n int) error {
		if p == sim.AtPoll && n == 1 {
			return &sim.Refusal{Code: 404202, Message: "Operation not found."}
		}
		return nil
	}}, func(w *world) {
		w.wantGrant(w.enroll())
		if n := w.cloud.Count(device, sim.Registering); n != 2 {
			w.Errorf("registered %d times", n)
		}
	})
}

func TestNetworkThatIsAwayForAMinuteCostsNoSecondCertificate(t *testing.T) {
	inWorld(t, sim.Temper{Assigning: 30 * time.Second}, func(w *world) {
		time.AfterFunc(5*time.Second, func() { w.cloud.SetTemper(sim.Temper{Offline: true}) })
		time.AfterFunc(65*time.Second, func() { w.cloud.SetTemper(sim.Temper{}) })
		w.wantGrant(w.enroll())
		if n := w.cloud.Count(device, sim.Registering); n != 1 {
			w.Errorf("registered %d times: %v", n, w.cloud.Events())
		}
	})
}

func TestTheWholeChainIsPresentedOverEveryTransport(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		if _, err := w.place(); err != nil {
			w.Fatal(err)
		}
		w.bootstrap.Certificate = w.bootstrap.Certificate[:1]
		if _, err := w.place(); fault.Of(err) != fault.Operator || !strings.Contains(fault.Hint(err), "all intermediates") {
			w.Errorf("without intermediates: %v: %v", fault.Of(err), err)
		}
	})
}

func TestConnectionProfileThatIsUnknownStopsTheDevice(t *testing.T) {
	for profile, known := range map[string]bool{"": true, "classic": true, "mqttV5": false, "x": false} {
		inWorld(t, sim.Temper{}, func(w *world) {
			w.cloud.SetPolicy(func(p *sim.Policy) { p.ConnectionProfile = profile })
			w.config.APIVersion = "2026-11-02-preview"
			_, err := w.place()
			if (err == nil) != known || !known && (fault.Of(err) != fault.Permanent || !strings.Contains(err.Error(), profile)) {
				w.Errorf("%q: %v", profile, err)
			}
		})
	}
}
