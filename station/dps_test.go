package station_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/hsm/hsmtest"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/sim"
	"github.com/devid-agent/devid-agent/station"
	"github.com/devid-agent/devid-agent/tpm/tpmtest"
)

func pemOf(a *station.Authority) *station.Certificates {
	return &station.Certificates{Primary: &station.CertificateInfo{Certificate: identity.EncodeChain(a.Chain()[:1])}}
}

func TestGroupIsEnrolledShownListedAndDeleted(t *testing.T) {
	d := newCloud(t, sim.Temper{}).dps("")
	root := found(t, station.Founding{Kind: station.Root})
	g := station.Enrollment{EnrollmentGroupID: "line-4", Status: "enabled",
		Attestation: station.Attestation{Type: station.AttestX509, X509: &station.X509Attestation{Signing: pemOf(root)}}}
	if _, err := d.Enroll(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Enroll(t.Context(), g); !errors.Is(err, station.ErrTaken) || fault.Hint(err) == "" {
		t.Errorf("a second group of that name: %v", err)
	}
	there, err := d.Show(t.Context(), station.Group, "line-4")
	if err != nil || there.Attestation.X509.Signing.Primary.Info.SHA256 == "" {
		t.Errorf("%+v, %v", there, err)
	}
	if _, err := d.Show(t.Context(), station.Individual, "line-4"); !errors.Is(err, station.ErrAbsent) {
		t.Errorf("as an individual enrollment: %v", err)
	}
	if all, err := d.List(t.Context(), station.Group); err != nil || len(all) < 1 {
		t.Errorf("list: %v, %v", all, err)
	}
	if err := d.Delete(t.Context(), station.Group, "line-4"); err != nil {
		t.Error(err)
	}
}

func TestListHasEveryPage(t *testing.T) {
	d := newCloud(t, sim.Temper{}).dps("")
	for n := range 103 {
		e := station.Enrollment{RegistrationID: fmt.Sprintf("gw-%d", n), Attestation: station.Attestation{Type: station.AttestSymmetric}}
		if _, err := d.Enroll(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := d.List(t.Context(), station.Individual); err != nil || len(all) != 103 {
		t.Errorf("%d enrollments, %v", len(all), err)
	}
}

func TestSymmetricKeyIsMadeByDPSAndReadOnce(t *testing.T) {
	d := newCloud(t, sim.Temper{}).dps("")
	if _, err := d.Enroll(t.Context(), station.Enrollment{RegistrationID: "gw-1", Attestation: station.Attestation{Type: station.AttestSymmetric}}); err != nil {
		t.Fatal(err)
	}
	k, err := d.Keys(t.Context(), station.Individual, "gw-1")
	if raw, bad := base64.StdEncoding.DecodeString(k.Primary); err != nil || bad != nil || len(raw) < 16 {
		t.Errorf("%v, %v", err, bad)
	}
	if there, err := d.Show(t.Context(), station.Individual, "gw-1"); err != nil || there.Attestation.SymmetricKey != nil && there.Attestation.SymmetricKey.Primary != "" {
		t.Errorf("the key is shown to whom asks: %v", err)
	}
}

func TestCSRPolicyTakesTheVersionThatKnowsIt(t *testing.T) {
	c := newCloud(t, sim.Temper{})
	for _, p := range []station.CSRPolicy{{CredentialPolicy: "default"}, {Namespace: "ns", Authority: "ca", Policy: "short"}} {
		d := c.dps(p.Version())
		e := station.Enrollment{RegistrationID: "gw-" + p.Version(), CSRPolicy: p, Attestation: station.Attestation{Type: station.AttestSymmetric}}
		if _, err := d.Enroll(t.Context(), e); err != nil {
			t.Error(err)
			continue
		}
		if there, err := d.Show(t.Context(), station.Individual, e.RegistrationID); err != nil || there.CSRPolicy != p {
			t.Errorf("%+v, %v", there.CSRPolicy, err)
		}
	}
}

func TestEndorsementKeyOfARealTPMIsEnrolled(t *testing.T) {
	hsmtest.Require(t, "tpm2_createek", "tpm2-tools")
	chip, file := tpmtest.Start(t), filepath.Join(t.TempDir(), "ek.pub")
	cmd := exec.CommandContext(t.Context(), "tpm2_createek", "-T", chip.TCTI(), "-c", filepath.Join(t.TempDir(), "ek.ctx"), "-G", "rsa", "-u", file)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tpm2_createek: %v %s", err, out)
	}
	public, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, given := range [][]byte{public, []byte(base64.StdEncoding.EncodeToString(public))} {
		key, err := station.ParseEndorsementKey(given)
		if err != nil {
			t.Fatal(err)
		}
		d := newCloud(t, sim.Temper{}).dps("")
		e := station.Enrollment{RegistrationID: "gw-1", Attestation: station.Attestation{Type: station.AttestTPM, TPM: &station.TPMAttestation{EndorsementKey: key}}}
		if _, err := d.Enroll(t.Context(), e); err != nil {
			t.Error(err)
		}
	}
	if _, err := station.ParseEndorsementKey(public[:len(public)-1]); err == nil {
		t.Error("half a key was taken")
	}
}

func TestDPSRegistrarMayBeAskedAgain(t *testing.T) {
	d := newCloud(t, sim.Temper{}).dps("")
	root := found(t, station.Founding{Kind: station.Root})
	r := station.DPSRegistrar{DPS: d, Template: station.Enrollment{Status: "enabled"}}
	var last string
	for range 2 {
		chain, err := root.Sign(request(t, newKey(t), named("gw-1")), 0, "")
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := r.Register(t.Context(), "gw-1", chain); err != nil {
				t.Fatal(err)
			}
		}
		last = station.Thumbprint(chain[0])
	}
	there, err := d.Show(t.Context(), station.Individual, "gw-1")
	if err != nil || !strings.EqualFold(there.Attestation.X509.Client.Primary.Info.SHA256, last) {
		t.Errorf("%+v, %v", there.Attestation.X509, err)
	}
}
