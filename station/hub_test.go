package station_test

import (
	"crypto/x509"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/sim"
	"github.com/devid-agent/devid-agent/station"
)

func TestDeviceIsCreatedDisabledEnabledAndDeleted(t *testing.T) {
	h := newCloud(t, sim.Temper{}).hub()
	if _, err := h.Create(t.Context(), station.Device{DeviceID: "gw:1 #?", Authentication: station.Authentication{Type: station.AuthCA}}); err == nil {
		t.Error("a name that is none was taken")
	}
	made, err := h.Create(t.Context(), station.Device{DeviceID: "gw-1", Authentication: station.Authentication{Type: station.AuthCA}})
	if err != nil || made.Status != "enabled" || made.ETag == "" {
		t.Fatalf("%+v, %v", made, err)
	}
	if _, err := h.Create(t.Context(), made); !errors.Is(err, station.ErrTaken) || fault.Hint(err) == "" {
		t.Errorf("a second device of that name: %v", err)
	}
	off, err := h.SetStatus(t.Context(), "gw-1", false, "stolen")
	if err != nil || off.Status != "disabled" || off.StatusReason != "stolen" || off.Authentication.Type != station.AuthCA {
		t.Errorf("%+v, %v", off, err)
	}
	if on, err := h.SetStatus(t.Context(), "gw-1", true, ""); err != nil || on.Status != "enabled" {
		t.Errorf("%+v, %v", on, err)
	}
	if err := h.Delete(t.Context(), "gw-1"); err != nil {
		t.Error(err)
	}
	if _, err := h.Show(t.Context(), "gw-1"); !errors.Is(err, station.ErrAbsent) || !strings.Contains(err.Error(), "DeviceNotFound") {
		t.Errorf("after its end: %v", err)
	}
}

func TestWhatWeKnowNothingOfSurvivesAnUpdate(t *testing.T) {
	h := newCloud(t, sim.Temper{}).hub()
	edge := station.Device{DeviceID: "edge-1", Authentication: station.Authentication{Type: station.AuthSAS}, Capabilities: []byte(`{"iotEdge":true}`)}
	made, err := h.Create(t.Context(), edge)
	if err != nil {
		t.Fatal(err)
	}
	off, err := h.SetStatus(t.Context(), "edge-1", false, "")
	if err != nil || !strings.Contains(string(off.Capabilities), "true") || *off.Authentication.SymmetricKey != *made.Authentication.SymmetricKey || off.Scope != made.Scope {
		t.Errorf("%+v became %+v, %v", made, off, err)
	}
}

func TestModuleLivesInItsDevice(t *testing.T) {
	h := newCloud(t, sim.Temper{}).hub()
	module := station.Device{DeviceID: "gw-1", ModuleID: "app", Authentication: station.Authentication{Type: station.AuthSAS}}
	if _, err := h.Create(t.Context(), module); !errors.Is(err, station.ErrAbsent) {
		t.Errorf("a module without its device: %v", err)
	}
	if _, err := h.Create(t.Context(), station.Device{DeviceID: "gw-1", Authentication: station.Authentication{Type: station.AuthSAS}}); err != nil {
		t.Fatal(err)
	}
	made, err := h.Create(t.Context(), module)
	if err != nil || made.Authentication.SymmetricKey == nil || made.Authentication.SymmetricKey.Primary == "" {
		t.Fatalf("%+v, %v", made, err)
	}
	if _, err := h.SetStatus(t.Context(), "gw-1/app", false, ""); err == nil || fault.Hint(err) == "" {
		t.Errorf("disable a module: %v", err)
	}
	if err := h.Delete(t.Context(), "gw-1/app"); err != nil {
		t.Error(err)
	}
}

func TestPolicyWithoutTheRightIsToldSo(t *testing.T) {
	c := newCloud(t, sim.Temper{})
	h := station.NewHub(c.connection(c.HubPolicy("registryRead")), "", c.client(c.RegistryAddr()))
	_, err := h.Create(t.Context(), station.Device{DeviceID: "gw-1", Authentication: station.Authentication{Type: station.AuthCA}})
	if fault.Of(err) != fault.Operator || fault.Hint(err) == "" || !strings.Contains(err.Error(), "no right RegistryWrite") {
		t.Errorf("%v: %v", err, fault.Hint(err))
	}
}

func TestHubRegistrarMayBeAskedAgain(t *testing.T) {
	c := newCloud(t, sim.Temper{})
	root := found(t, station.Founding{Kind: station.Root})
	chain := func() []*x509.Certificate {
		out, err := root.Sign(request(t, newKey(t), named("gw-1")), 0, "")
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	first, second := chain(), chain()
	r := station.HubRegistrar{Hub: c.hub(), Auth: station.AuthThumbprint}
	for _, x := range [][]*x509.Certificate{first, first, second} {
		if err := r.Register(t.Context(), "gw-1", x); err != nil {
			t.Fatal(err)
		}
	}
	d, err := r.Hub.Show(t.Context(), "gw-1")
	if err != nil || !strings.EqualFold(d.Authentication.Thumbprint.Primary, station.Thumbprint(second[0])) ||
		!strings.EqualFold(d.Authentication.Thumbprint.Secondary, station.Thumbprint(first[0])) {
		t.Errorf("%+v, %v", d.Authentication.Thumbprint, err)
	}
	r.Auth = station.AuthCA
	if err := r.Register(t.Context(), "gw-1", first); err == nil || !strings.Contains(err.Error(), "selfSigned") {
		t.Errorf("another authentication: %v", err)
	}
}

func TestHubIsAskedByManyAtATime(t *testing.T) {
	h := newCloud(t, sim.Temper{}).hub()
	var running sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		running.Go(func() {
			if _, err := h.Create(t.Context(), station.Device{DeviceID: name, Authentication: station.Authentication{Type: station.AuthCA}}); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
}

func TestChangeOfSomebodyElseIsNotOverwritten(t *testing.T) {
	d := newCloud(t, sim.Temper{}).dps("")
	e := station.Enrollment{RegistrationID: "gw-1", Attestation: station.Attestation{Type: station.AttestSymmetric}}
	first, err := d.Enroll(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	e.ETag, e.Status = first.ETag, "disabled"
	if _, err := d.Enroll(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Enroll(t.Context(), e); !errors.Is(err, station.ErrChanged) || fault.Hint(err) == "" {
		t.Errorf("with the ETag from before: %v", err)
	}
}
