package tpmtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Maker is a manufacturer of TPMs: a certificate authority of swtpm_localca in a temporary directory.
type Maker struct {
	dir string
}

// NewMaker is a manufacturer of this test.
func NewMaker(t testing.TB) *Maker {
	t.Helper()
	requireSetup(t)
	m := &Maker{dir: t.TempDir()}
	m.write(t, "ca.conf", fmt.Sprintf("statedir = %s\nsigningkey = %s\nissuercert = %s\ncertserial = %s\n",
		m.dir, m.file("key.pem"), m.file("issuer.pem"), m.file("serial")))
	m.write(t, "ca.options", "--platform-manufacturer devid\n--platform-model test\n--platform-version 1\n")
	m.write(t, "setup.conf", fmt.Sprintf("create_certs_tool = %s\ncreate_certs_tool_config = %s\ncreate_certs_tool_options = %s\n",
		tool(t, "swtpm_localca"), m.file("ca.conf"), m.file("ca.options")))
	return m
}

// requireSetup fails or skips with what to install.
func requireSetup(t testing.TB) {
	t.Helper()
	for _, name := range []string{"swtpm_setup", "swtpm_localca", "certtool"} {
		if _, err := exec.LookPath(name); err == nil {
			continue
		}
		if os.Getenv("CI") == "true" {
			t.Fatal(name + " is missing: apt-get install swtpm-tools gnutls-bin")
		}
		t.Skip("apt-get install swtpm-tools gnutls-bin")
	}
}

func tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func (m *Maker) file(name string) string { return filepath.Join(m.dir, name) }

func (m *Maker) write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(m.file(name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Endorse makes p anew, as leaving the factory: with the endorsement keys 0x81010001 (RSA 2048) and 0x81010016
// (P-384), and their certificates at 0x01c00002 and 0x01c00016. Whatever was in p is gone.
func (m *Maker) Endorse(p *TPM) {
	p.t.Helper()
	p.Kill()
	args := []string{"--tpm2", "--tpmstate", p.dir, "--create-ek-cert", "--overwrite", "--config", m.file("setup.conf")}
	if os.Geteuid() == 0 {
		args = append(args, "--runas", "root") // and not the user tss, who cannot read our directory
	}
	if out, err := exec.Command("swtpm_setup", args...).CombinedOutput(); err != nil {
		p.t.Fatalf("swtpm_setup: %v\n%s", err, out)
	}
	p.Restart()
}

// Root is the manufacturer's root certificate (PEM). There is none before the first TPM.
func (m *Maker) Root(t testing.TB) []byte { return m.read(t, "swtpm-localca-rootca-cert.pem") }

// Issuer is the certificate (PEM) under Root that signs for the TPMs.
func (m *Maker) Issuer(t testing.TB) []byte { return m.read(t, "issuer.pem") }

func (m *Maker) read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(m.file(name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
