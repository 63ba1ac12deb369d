package identity_test

import (
	"crypto/ecdsa"
	"strings"
	"testing"

	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
)

func TestAnIdentityWithoutACertificateIsStagedPromotedAndFoundAgain(t *testing.T) {
	dir, ks := t.TempDir(), keystest.NewStore(keys.ECDSAP256)
	s := open(t, dir, ks)
	a := identity.Assignment{DeviceID: "d1", Module: "m1", Hub: "hub.example"}
	id, err := s.Stage(t.Context(), "", identity.Grant{Assignment: a})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Promote(); err != nil {
		t.Fatal(err)
	}
	current := open(t, dir, ks).Current()
	if current == nil || current.Assignment != a || current.Certified() || current.Generation != id.Generation {
		t.Errorf("found again: %+v", current)
	}
	if current.Leaf() != nil || len(current.Certificate().Certificate) != 0 || current.Name() != "d1/m1" {
		t.Errorf("it shows %v as %s", current.Certificate(), current.Name())
	}
	if text := current.LogValue().String(); !strings.Contains(text, "token") {
		t.Errorf("the log says %s", text)
	}
}

func TestAGrantAndItsKeyBelongTogether(t *testing.T) {
	ca, ks := newAuthority(t), keystest.NewStore(keys.ECDSAP256)
	s := open(t, t.TempDir(), ks)
	name, key, err := s.NextKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Stage(t.Context(), name, identity.Grant{Assignment: identity.Assignment{DeviceID: "d1", Hub: "h"}}); err == nil {
		t.Error("a key was staged without a certificate")
	}
	if _, err := s.Stage(t.Context(), "", ca.grant(t, key.Public(), nil)); err == nil {
		t.Error("a certificate was staged without a key")
	}
}

func TestAKeyWhoseRequestIsAskedForSurvivesARestartAndNoOtherDoes(t *testing.T) {
	ca, dir, ks := newAuthority(t), t.TempDir(), keystest.NewStore(keys.ECDSAP256)
	s := open(t, dir, ks)
	name, key, err := s.NextKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Keep(name); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, ks)
	again, same, err := s.NextKey(t.Context())
	if err != nil || again != name || !key.Public().(*ecdsa.PublicKey).Equal(same.Public()) {
		t.Fatalf("after a restart the next key is %s, %v; it is another one", again, err)
	}
	if _, err := s.Stage(t.Context(), name, ca.grant(t, key.Public(), nil)); err != nil {
		t.Fatal(err)
	}
	if err := s.Drop(); err != nil {
		t.Fatal(err)
	}
	open(t, dir, ks)
	if names, err := ks.Names(t.Context()); err != nil || len(names) != 0 {
		t.Errorf("a key that has had its certificate is kept: %v, %v", names, err)
	}
}

func TestAModulesCertificateNamesDeviceAndModule(t *testing.T) {
	ca, ks := newAuthority(t), keystest.NewStore(keys.ECDSAP256)
	s := open(t, t.TempDir(), ks)
	name, key, err := s.NextKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	g := ca.grant(t, key.Public(), nil)
	g.Module = "m1"
	if _, err := s.Stage(t.Context(), name, g); err == nil || !strings.Contains(err.Error(), "d1/m1") {
		t.Errorf("the device's certificate was staged for a module: %v", err)
	}
}
