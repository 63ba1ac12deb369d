package dps

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/mqtt"
	"github.com/devid-agent/devid-agent/internal/mtls"
	"github.com/devid-agent/devid-agent/internal/sas"
	"github.com/devid-agent/devid-agent/sim"
	"github.com/devid-agent/devid-agent/tpm"
	"github.com/devid-agent/devid-agent/tpm/tpmtest"
)

// inTPMWorld runs story with a TPM, whose endorsement key is of that kind and enrolled, and a cloud on the network.
func inTPMWorld(t *testing.T, kind string, story func(w *world, chip *tpm.Store)) {
	t.Helper()
	chip := tpmtest.Start(t)
	store, err := tpm.Open(tpm.Config{TCTI: chip.TCTI(), Dir: t.TempDir(), Endorsement: kind})
	if err != nil {
		t.Fatal(err)
	}
	cloud, err := sim.Start(t.Context(), sim.Temper{RetryAfter: time.Second, NoPollLimit: true}, func(p *sim.Policy) { p.ECDSAServer = true })
	if err != nil {
		t.Fatal(err)
	}
	defer cloud.Close()
	w := &world{T: t, cloud: cloud, key: newKey(t)}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cloud.RootsPEM())
	w.config = Config{IDScope: sim.IDScope, Roots: mtls.Fixed(roots), Connect: cloud.DPSHTTPAddr(), TPM: store}
	cloud.Enroll(sim.Enrollment{Registration: device, EndorsementKey: w.endorsement()})
	story(w, store)
}

func (w *world) endorsement() []byte {
	w.Helper()
	ek, _, err := w.config.TPM.Endorsement(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	return ek
}

// atHub connects to the hub with a token that the TPM signs.
func (w *world) atHub(chip TPM) error {
	w.Helper()
	mac := func(ctx context.Context, data []byte) ([]byte, error) { return chip.HMAC(ctx, HubKey, data) }
	token, err := sas.Token(w.Context(), sim.HubHost+"/devices/"+device, "", time.Now().Add(time.Hour), mac)
	if err != nil {
		w.Fatal(err)
	}
	conn, err := mqtt.Dial(w.Context(), mqtt.Options{Host: sim.HubHost, Address: w.cloud.HubAddr(), Roots: w.config.Roots.Pool(),
		ClientID: device, Username: sim.HubHost + "/" + device + "/?api-version=2021-04-12", Password: token})
	if err == nil {
		conn.Close()
	}
	return err
}

func TestTPMRegistersAndItsKeyOpensTheHub(t *testing.T) {
	for _, kind := range []string{tpm.EndorsementRSA, tpm.EndorsementECC} {
		t.Run(kind, func(t *testing.T) {
			inTPMWorld(t, kind, func(w *world, chip *tpm.Store) {
				if a, err := w.place(); err != nil || a != (identity.Assignment{DeviceID: device, Hub: sim.HubHost}) {
					w.Fatalf("%+v, %v", a, err)
				}
				if got, _ := w.cloud.LastRegistration(device); got.Attestation != "tpm" || got.Transport != HTTPS || got.CSR {
					w.Errorf("%+v", got)
				}
				if err := w.atHub(chip); err != nil {
					w.Errorf("at the hub: %v", err)
				}
				if names, err := chip.Names(w.Context()); err != nil || len(names) != 0 {
					w.Errorf("keys that an identity would sweep: %v, %v", names, err)
				}
				w.wantGrant(w.enroll())
			})
		})
	}
}

func TestRegistrationThatFailsLeavesTheKeyForTheHubAlone(t *testing.T) {
	inTPMWorld(t, tpm.EndorsementRSA, func(w *world, chip *tpm.Store) {
		if _, err := w.place(); err != nil {
			w.Fatal(err)
		}
		w.cloud.SetTemper(sim.Temper{RetryAfter: time.Second, FailedBy: 400207})
		if _, err := w.place(); fault.Of(err) != fault.Permanent {
			w.Errorf("%v: %v", fault.Of(err), err)
		}
		if err := w.atHub(chip); err != nil {
			w.Errorf("at the hub: %v", err)
		}
	})
}

func TestForgottenOperationOfATPMIsChallengedAnew(t *testing.T) {
	inTPMWorld(t, tpm.EndorsementRSA, func(w *world, chip *tpm.Store) {
		w.cloud.SetTemper(sim.Temper{RetryAfter: time.Second, Fault: func(p sim.Point, _ string, n int) error {
			if p == sim.AtPoll && n == 1 {
				return &sim.Refusal{Code: 404202, Message: "Operation not found."}
			}
			return nil
		}})
		if _, err := w.place(); err != nil {
			w.Fatal(err)
		}
		if n := w.cloud.Count(device, sim.Registering); n != 4 {
			w.Errorf("registered %d times", n)
		}
		if err := w.atHub(chip); err != nil {
			w.Errorf("at the hub: %v", err)
		}
	})
}

// liar is a TPM whose signatures are wrong.
type liar struct{ TPM }

func (liar) HMAC(context.Context, string, []byte) ([]byte, error) { return make([]byte, 32), nil }

func TestTPMThatIsNotTheEnrolledOneIsToldWhatToEnroll(t *testing.T) {
	inTPMWorld(t, tpm.EndorsementRSA, func(w *world, chip *tpm.Store) {
		ek := w.endorsement()
		other := bytes.Clone(ek)
		other[len(other)-1] ^= 2
		for name, s := range map[string]struct {
			prepare func()
			asked   int
		}{
			"not enrolled": {func() { w.cloud.RemoveEnrollments() }, 1},
			"another TPM":  {func() { w.cloud.Enroll(sim.Enrollment{Registration: device, EndorsementKey: other}) }, 1},
			"wrong answer": {func() {
				w.cloud.Enroll(sim.Enrollment{Registration: device, EndorsementKey: ek})
				w.config.TPM = liar{chip}
			}, 2},
		} {
			w.config.TPM = chip
			s.prepare()
			before := w.cloud.Count(device, sim.Registering)
			_, err := w.place()
			text := fmt.Sprint(err, " | ", fault.Hint(err))
			if fault.Of(err) != fault.Operator || !strings.Contains(text, device) || !strings.Contains(text, base64.StdEncoding.EncodeToString(ek)) {
				w.Errorf("%s: %v: %s", name, fault.Of(err), text)
			}
			if n := w.cloud.Count(device, sim.Registering) - before; n != s.asked {
				w.Errorf("%s: registered %d times, want %d", name, n, s.asked)
			}
		}
	})
}

func TestTPMThatDoesNotAnswerKeepsItsOwnRemedy(t *testing.T) {
	_, err := New(Config{IDScope: "0ne", TPM: deaf{}, Roots: mtls.Fixed(x509.NewCertPool())}).Place(t.Context(), device)
	if !errors.Is(err, errDeaf) || fault.Of(err) != fault.Operator || fault.Hint(err) != "check keys.tpm" {
		t.Errorf("%v: %v", fault.Of(err), err)
	}
}
