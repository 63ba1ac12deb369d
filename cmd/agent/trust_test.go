package main

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/sim"
)

func TestTheRootsThatMicrosoftNamesAreThoseOfItsDocuments(t *testing.T) {
	roots, err := identity.ParseChain(microsoftRoots)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range roots {
		if err := r.CheckSignatureFrom(r); err != nil || !r.IsCA {
			t.Errorf("%s is no root: %v", r.Subject, err)
		}
		names = append(names, r.Subject.CommonName)
	}
	want := "DigiCert Global Root G2, Microsoft RSA Root Certificate Authority 2017, DigiCert Global Root G3"
	if got := strings.Join(names, ", "); got != want {
		t.Errorf("%s", got)
	}
}

func TestTrustIsTheSumOfWhatIsConfigured(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	bare := func(change func(c *Config)) *x509.CertPool {
		c := defaultConfig()
		change(c)
		pool, err := azureRoots(c, "")
		if err != nil {
			t.Fatal(err)
		}
		return pool
	}
	named, err := identity.ParseChain(microsoftRoots)
	if err != nil {
		t.Fatal(err)
	}
	own, err := readCertificates(filepath.Join(d.dir, "roots.pem"))
	if err != nil {
		t.Fatal(err)
	}
	all := x509.NewCertPool()
	for _, c := range append(named, own...) {
		all.AddCert(c)
	}
	got := bare(func(c *Config) {
		c.Trust.System, c.Trust.Microsoft, c.Trust.Roots = false, true, filepath.Join(d.dir, "roots.pem")
	})
	if !got.Equal(all) {
		t.Error("without the system, Microsoft's and the configured roots are not what is trusted")
	}
	if pool := bare(func(*Config) {}); pool != nil {
		t.Error("by default it is not the system's store alone")
	}
	c := defaultConfig()
	c.Trust.Microsoft = true
	only, err := azureRoots(c, filepath.Join(d.dir, "roots.pem"))
	want := x509.NewCertPool()
	want.AddCert(own[0])
	if err != nil || !only.Equal(want) {
		t.Errorf("an endpoint with roots of its own trusts others too: %v", err)
	}
}

func TestConfiguredRootsLeadToTheHub(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.append(strings.ReplaceAll(azure(d.cloud), ", roots: roots.pem", "") + "trust: {system: false, roots: roots.pem}\n")
	d.streams()
}

func TestCheckSaysWhatBecomesOfTrustWithoutEachRoot(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.append(azure(d.cloud))
	_, out, _ := d.command("check")
	if !strings.Contains(out, "without it the server would not be trusted") {
		t.Errorf("one root:\n%s", out)
	}
	d.replace(", roots: roots.pem}}", "}}") // the endpoint trusts what the device does
	d.append("trust: {system: false, roots: roots.pem}\n")
	_, out, _ = d.command("check")
	if !strings.Contains(out, "Microsoft may move its servers to it") || !strings.Contains(out, "trust.microsoft: true") {
		t.Errorf("a device that would be cut off by Microsoft's next root:\n%s", out)
	}
	d.replace("trust: {system: false", "trust: {system: false, microsoft: true")
	_, out, _ = d.command("check")
	if strings.Contains(out, "Microsoft may move") {
		t.Errorf("all roots are there:\n%s", out)
	}
}

func TestSurvivalNamesTheOtherRoot(t *testing.T) {
	all, err := identity.ParseChain(microsoftRoots)
	if err != nil {
		t.Fatal(err)
	}
	chains := [][]*x509.Certificate{{all[1], all[0]}, {all[1], all[1]}}
	lines := strings.Join(survival(chains), "\n")
	if !strings.Contains(lines, `"DigiCert Global Root G2" until 2038-01-15: without it the server would still be trusted, through "Microsoft RSA Root Certificate Authority 2017"`) {
		t.Errorf("%s", lines)
	}
	if strings.Count(lines, "still be trusted") != 2 {
		t.Errorf("%s", lines)
	}
}

func TestATrustBundleIsKeptAndTrustedByNobody(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.append(d.dps("mqtt", ", api_version: 2021-11-01-preview") + d.hub("mqtt"))
	d.streams()
	bundle, err := os.ReadFile(filepath.Join(d.dir, "state", "trust-bundle.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := identity.ParseChain(bundle); err != nil {
		t.Error(err)
	}
}
