package dps

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/sas"
	"github.com/devid-agent/devid-agent/provisioning"
	"github.com/devid-agent/devid-agent/sim"
)

var (
	deviceKey = []byte("the key of one device, 32 bytes.")
	groupKey  = []byte("the key of a group of devices...")
)

// withKey lets the device attest by key alone.
func (w *world) withKey(key []byte) {
	w.config.Bootstrap = nil
	w.config.SharedKey = func(context.Context) ([]byte, error) { return key, nil }
}

func (w *world) place() (identity.Assignment, error) { return New(w.config).Place(w.Context(), device) }

// attestations are the ways to attest without a TPM.
var attestations = map[string]func(w *world){
	"x509": func(*world) {},
	"individual": func(w *world) {
		w.cloud.Enroll(sim.Enrollment{Registration: device, SymmetricKey: deviceKey})
		w.withKey(deviceKey)
	},
	"group": func(w *world) {
		w.cloud.Enroll(sim.Enrollment{Group: "line-1", SymmetricKey: groupKey})
		w.withKey(sas.DeriveKey(groupKey, device))
	},
}

func TestEveryAttestationRegistersOverEveryTransportWithAndWithoutACSR(t *testing.T) {
	for name, attest := range attestations {
		inWorld(t, sim.Temper{}, func(w *world) {
			attest(w)
			w.config.Payload = json.RawMessage(`{"site":"a"}`)
			if a, err := w.place(); err != nil || a != (identity.Assignment{DeviceID: device, Hub: sim.HubHost}) {
				w.Errorf("%s: place: %+v, %v", name, a, err)
			}
			w.wantAsked(name, false)
			w.wantGrant(w.enroll())
			w.wantAsked(name, true)
			if g, err := New(w.config).Enroll(w.Context(), provisioning.Request{DeviceID: device}); err != nil || g.Certified() || g.Hub != sim.HubHost {
				w.Errorf("%s: without a key: %+v, %v", name, g, err)
			}
			if n := len(w.cloud.Issued(device)); n != 1 {
				w.Errorf("%s: %d certificates for one CSR", name, n)
			}
		})
	}
}

// wantAsked holds what the service was asked for against what the device is configured to ask.
func (w *world) wantAsked(name string, csr bool) {
	w.Helper()
	want := sim.Registration{Attestation: "symmetricKey", Transport: w.config.Transport, Version: New(w.config).config.APIVersion, Payload: w.config.Payload, CSR: csr}
	if name == "x509" {
		want.Attestation = "x509"
	}
	got, _ := w.cloud.LastRegistration(device)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		w.Errorf("%s: the service was asked for %+v, want %+v", name, got, want)
	}
}

func TestEveryVersionCarriesWhatItCan(t *testing.T) {
	for version, csr := range map[string]bool{
		"2019-03-31": false, "2021-06-01": false, "2021-10-01": false, "2021-11-01-preview": true,
		"2025-07-01-preview": true, "2026-11-01": true, "2026-11-02-preview": true,
	} {
		inWorld(t, sim.Temper{}, func(w *world) {
			w.config.APIVersion = version
			var trust []*x509.Certificate
			w.config.TrustBundle = func(all []*x509.Certificate) { trust = all }
			if _, err := w.place(); err != nil {
				w.Errorf("%s: place: %v", version, err)
			}
			if told := len(trust) == 1; told != (version == "2021-11-01-preview") {
				w.Errorf("%s: trust bundle of %d", version, len(trust))
			}
			if csr {
				w.wantGrant(w.enroll())
				return
			}
			before := len(w.cloud.Events())
			if _, err := w.enroll(); fault.Of(err) != fault.Operator || !strings.Contains(fault.Hint(err), "provisioning.dps.api_version") {
				w.Errorf("%s: %v: %v", version, fault.Of(err), err)
			}
			if n := len(w.cloud.Events()) - before; n != 0 {
				w.Errorf("%s: the service was asked what it cannot answer: %v", version, w.cloud.Events()[before:])
			}
		})
	}
}

func TestUnknownVersionFollowsTheNewestAndIsToldOf(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		w.cloud.SetPolicy(func(p *sim.Policy) { p.AnyVersion = true })
		var log bytes.Buffer
		w.config.Log = slog.New(slog.NewTextHandler(&log, nil))
		w.config.APIVersion = "2031-01-01"
		w.wantGrant(w.enroll())
		if n := strings.Count(log.String(), "level=WARN"); n != 1 || !strings.Contains(log.String(), "2031-01-01") {
			w.Errorf("log: %s", log.String())
		}
	})
}

func TestVersionThatTheServiceDoesNotKnowIsRefusedWithItsName(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		w.config.APIVersion = "2031-01-01"
		_, err := w.enroll()
		if text := fmt.Sprint(err, " | ", fault.Hint(err)); fault.Of(err) == fault.Transient || !strings.Contains(text, "api_version") {
			w.Errorf("%v: %s", fault.Of(err), text)
		}
	})
}

func TestRegistrationIDMayDifferFromTheDevice(t *testing.T) {
	for name, attest := range map[string]func(w *world){
		"x509": func(w *world) {
			w.cloud.Enroll(sim.Enrollment{Registration: "SN-0815", DeviceID: device})
			w.bootstrap = w.factory("SN-0815")
		},
		"symmetric": func(w *world) {
			w.cloud.Enroll(sim.Enrollment{Registration: "SN-0815", DeviceID: device, SymmetricKey: deviceKey})
			w.withKey(deviceKey)
		},
	} {
		inWorld(t, sim.Temper{}, func(w *world) {
			w.config.RegistrationID = "SN-0815"
			attest(w)
			if a, err := w.place(); err != nil || a.DeviceID != device {
				w.Errorf("%s: %+v, %v", name, a, err)
			}
			w.wantGrant(w.enroll())
			if r := w.cloud.Requests(device); len(r) != 1 || r[0].Subject.CommonName != "SN-0815" {
				w.Errorf("%s: requests %v", name, r)
			}
		})
	}
}

func TestCertificateOfAnotherRegistrationIsNotShown(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		w.config.RegistrationID = "SN-0815"
		_, placed := w.place()
		_, assigned := New(w.config).Assign(w.Context(), w.bootstrap)
		for _, err := range []error{placed, assigned} {
			if fault.Of(err) != fault.Operator || !strings.Contains(fault.Hint(err), "registration_id") || !strings.Contains(err.Error(), "SN-0815") {
				w.Errorf("%v: %v", fault.Of(err), err)
			}
		}
		if n := len(w.cloud.Events()); n != 0 {
			w.Errorf("%v", w.cloud.Events())
		}
	})
}

func TestCheckNamesTheSettingsThatDoNotFit(t *testing.T) {
	cert := func(context.Context) (tls.Certificate, error) { return tls.Certificate{}, nil }
	key := func(context.Context) ([]byte, error) { return nil, nil }
	for words, c := range map[string]Config{
		"provisioning.dps.id_scope":                      {Bootstrap: cert},
		"neither bootstrap.certificate nor":              {IDScope: "0ne"},
		"not x509 (bootstrap.certificate) and symmetric": {IDScope: "0ne", Bootstrap: cert, SharedKey: key},
		"and tpm":                                       {IDScope: "0ne", SharedKey: key, TPM: deaf{}},
		"attestation tpm needs https, not mqtt":         {IDScope: "0ne", TPM: deaf{}, Transport: MQTT},
		`"amqp" is none of mqtt, websocket, https`:      {IDScope: "0ne", SharedKey: key, Transport: "amqp"},
		"provisioning.dps.payload is not a JSON object": {IDScope: "0ne", SharedKey: key, Payload: json.RawMessage("[]")},
		`registration_id: "a/b" has characters`:         {IDScope: "0ne", SharedKey: key, RegistrationID: "a/b"},
		`registration_id: "a." does not end`:            {IDScope: "0ne", SharedKey: key, RegistrationID: "a."},
		"is not 1 to 128 characters":                    {IDScope: "0ne", SharedKey: key, RegistrationID: strings.Repeat("a", 129)},
		"":                                              {IDScope: "0ne", SharedKey: key, RegistrationID: "a.b:c-d_e-", Transport: WebSocket, Payload: json.RawMessage("{}")},
		"no transport for a TPM means https, which is all good": {IDScope: "0ne", TPM: deaf{}},
	} {
		err := c.Check()
		if good := words == "" || c.TPM != nil && c.Transport == "" && c.SharedKey == nil; good != (err == nil) {
			t.Errorf("%s: %v", words, err)
		} else if !good && !strings.Contains(err.Error(), words) {
			t.Errorf("%v, want %s", err, words)
		}
		if err != nil {
			if _, placed := New(c).Place(t.Context(), device); fault.Of(placed) != fault.Operator || !strings.Contains(placed.Error(), words) {
				t.Errorf("%s: Place: %v", words, placed)
			}
		}
	}
	if err := (Config{Payload: json.RawMessage("1"), Transport: "x"}).Check(); err == nil || strings.Count(err.Error(), "\n") != 3 {
		t.Errorf("not all at once: %v", err)
	}
}

// deaf is a TPM that answers nothing.
type deaf struct{}

var errDeaf = fault.AskOperator(errors.New("tpm: no such device"), "check keys.tpm")

func (deaf) Endorsement(context.Context) (ek, srk []byte, err error)      { return nil, nil, errDeaf }
func (deaf) Activate(context.Context, string, []byte) error               { return errDeaf }
func (deaf) HMAC(context.Context, string, []byte) (sum []byte, err error) { return nil, errDeaf }
