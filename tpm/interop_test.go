package tpm_test

import (
	"bufio"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
	"github.com/devid-agent/devid-agent/tpm"
	"github.com/devid-agent/devid-agent/tpm/tpmtest"
)

// run runs a tool that speaks to the TPM.
func run(t *testing.T, p *tpmtest.TPM, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TPM2OPENSSL_TCTI="+p.TCTI(), "TPM2TOOLS_TCTI="+p.TCTI())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// requireTools skips only for what is not installed: what is installed and does not work is a failure.
func requireTools(t *testing.T) {
	t.Helper()
	for _, tool := range []string{"openssl", "tpm2_createprimary"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing(t, "apt-get install openssl tpm2-tools")
		}
	}
	out, err := exec.Command("openssl", "version", "-m").Output()
	if err != nil {
		t.Fatal(err)
	}
	_, modules, _ := strings.Cut(strings.TrimSpace(string(out)), ": ")
	if _, err := os.Stat(filepath.Join(strings.Trim(modules, `"`), "tpm2.so")); err != nil {
		missing(t, "apt-get install tpm2-openssl")
	}
}

func missing(t *testing.T, remedy string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(remedy)
	}
	t.Skip(remedy)
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, path string, b []byte) string {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOpenSSLSignsWithOurKeyFiles(t *testing.T) {
	requireTools(t)
	p := tpmtest.Start(t)
	for _, a := range keys.Algorithms {
		dir := t.TempDir()
		key := create(t, open(t, tpm.Config{TCTI: p.TCTI(), Dir: dir, Algorithm: a}), "device-g1")
		message := []byte("read by a stranger")
		write(t, filepath.Join(dir, "message"), message)
		run(t, p, dir, "openssl", "dgst", "-provider", "tpm2", "-provider", "default", "-propquery", "?provider=tpm2", "-sha256",
			"-sign", "device-g1.tss2.pem", "-out", "signature", "message")
		digest := sha256.Sum256(message)
		if err := keystest.CheckSignature(key.Public(), digest[:], read(t, filepath.Join(dir, "signature")), crypto.SHA256); err != nil {
			t.Errorf("%s: %v", a, err)
		}
		wantEmpty(t, p, "openssl")
	}
}

func TestKeysMadeByOpenSSLAreLoaded(t *testing.T) {
	requireTools(t)
	p := tpmtest.Start(t)
	dir := t.TempDir()
	run(t, p, dir, "tpm2_createprimary", "-Q", "-C", "o", "-G", "ecc", "-c", "parent.ctx")
	run(t, p, dir, "tpm2_evictcontrol", "-Q", "-C", "o", "-c", "parent.ctx", "0x81000001")
	run(t, p, dir, "tpm2_flushcontext", "-t")
	s := store(t, p)
	loaded := map[string]crypto.Signer{}
	for name, options := range map[string][]string{
		"P-256":                     {"EC", "group:P-256"},
		"P-384":                     {"EC", "group:P-384"},
		"RSA":                       {"RSA", "bits:2048"},
		"P-256 under a handle":      {"EC", "group:P-256", "parent:0x81000001"},
		"RSA under the same handle": {"RSA", "bits:2048", "parent:0x81000001"},
	} {
		args := []string{"genpkey", "-provider", "tpm2", "-provider", "default", "-out", "key.pem", "-algorithm", options[0]}
		for _, o := range options[1:] {
			args = append(args, "-pkeyopt", o)
		}
		run(t, p, dir, "openssl", args...)
		key, err := s.Load(t.Context(), read(t, filepath.Join(dir, "key.pem")))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		verify(t, key)
		wantEmpty(t, p, name)
		loaded[name] = key
	}
	// Only once: openssl makes keys without noDA, and then each power cut counts as a wrong password.
	p.Restart()
	for _, key := range loaded {
		verify(t, key)
	}
	wantEmpty(t, p, "the restart")
}

func TestOpenSSLServerAcceptsTheClientCertificate(t *testing.T) {
	requireTools(t)
	p := tpmtest.Start(t)
	authority := keystest.NewAuthority(t)
	for _, a := range keys.Algorithms {
		s := open(t, tpm.Config{TCTI: p.TCTI(), Dir: t.TempDir(), Algorithm: a})
		cert := authority.Certify(t, "device-1", create(t, s, "device-g1"))
		for flag, version := range map[string]uint16{"-tls1_2": tls.VersionTLS12, "-tls1_3": tls.VersionTLS13} {
			address := serve(t, authority, flag)
			if err := echo(address, &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: authority.Pool,
				ServerName: "server", MinVersion: version, MaxVersion: version}); err != nil {
				t.Errorf("%s %s: %v", a, flag, err)
			}
		}
		address := serve(t, authority, "-tls1_3")
		if echo(address, &tls.Config{RootCAs: authority.Pool, ServerName: "server"}) == nil {
			t.Error("the server accepts anybody")
		}
	}
}

// serve is openssl s_server, which demands a certificate and sends each line back in reverse.
func serve(t *testing.T, authority *keystest.Authority, version string) (address string) {
	t.Helper()
	dir := t.TempDir()
	key, err := keystest.Generate(keys.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := authority.Certify(t, "server", key)
	block := func(name, kind string, der []byte) string {
		return write(t, filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	cmd := exec.CommandContext(t.Context(), "openssl", "s_server", "-accept", "127.0.0.1:0", version, "-rev",
		"-cert", block("cert", "CERTIFICATE", cert.Certificate[0]), "-key", block("key", "PRIVATE KEY", der),
		"-CAfile", block("ca", "CERTIFICATE", authority.Certificate.Raw), "-Verify", "3", "-verify_return_error")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if address, found := strings.CutPrefix(lines.Text(), "ACCEPT "); found {
			return address
		}
	}
	t.Fatal("openssl s_server does not say where it listens")
	return ""
}

func echo(address string, c *tls.Config) error {
	conn, err := tls.Dial("tcp", address, c)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, "tpm\n"); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && line != "mpt\n" {
		err = fmt.Errorf("the server says %q", line)
	}
	return err
}

func TestSaltOfAnotherLengthIsRefusedBeforeTheTPMIsAsked(t *testing.T) {
	p := tpmtest.Start(t)
	key := create(t, open(t, tpm.Config{TCTI: p.TCTI(), Dir: t.TempDir(), Algorithm: keys.RSA2048}), "device-g1")
	before := p.Count(tpmtest.Any)
	for _, salt := range []int{rsa.PSSSaltLengthAuto, 20, 222} {
		if _, err := key.Sign(rand.Reader, make([]byte, 32), &rsa.PSSOptions{SaltLength: salt, Hash: crypto.SHA256}); err == nil {
			t.Errorf("signed with a salt of length %d", salt)
		}
	}
	if p.Count(tpmtest.Any) != before {
		t.Error("the TPM was asked")
	}
}
