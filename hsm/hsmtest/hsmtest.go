// Package hsmtest is PKCS#11 tokens for as long as a test: SoftHSM, tpm2-pkcs11 on a software TPM, and modules that
// misbehave. Their users reach them through a real devid-pkcs11, built once for each test binary.
package hsmtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/devid-agent/devid-agent/hsm"
)

// PIN is the user PIN of every token here. Nothing else in the tests contains it, so that it may be searched for.
const PIN = "canary-73519"

const label = "devid test"

// Token is a token and the way to it.
type Token struct {
	Module   string
	Env      []string
	PINFile  string
	StateDir string

	t   testing.TB
	dir string
}

// built is what is built once, for all tests of a binary.
type built struct {
	once sync.Once
	dir  string
	err  error
}

var helper built

// Main runs the tests and removes what was built for them. TestMain calls it.
func Main(m *testing.M) {
	code := m.Run()
	if helper.dir != "" {
		_ = os.RemoveAll(helper.dir)
	}
	os.Exit(code)
}

// Helper is the path of a devid-pkcs11 built from this tree.
func Helper(t testing.TB) string {
	t.Helper()
	Require(t, "gcc", "gcc libc6-dev")
	helper.once.Do(func() { helper.dir, helper.err = build() })
	if helper.err != nil {
		t.Fatal(helper.err)
	}
	return filepath.Join(helper.dir, "devid-pkcs11")
}

func build() (string, error) {
	dir, err := os.MkdirTemp("", "hsmtest")
	if err != nil {
		return "", err
	}
	if err := touch(); err != nil {
		return dir, err
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, "devid-pkcs11"),
		"github.com/devid-agent/devid-agent/cmd/pkcs11")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("build devid-pkcs11: %w\n%s", err, out)
	}
	return dir, nil
}

// touch looks at the sources of the helper, so that the go command does not repeat a test's old result when they
// change: to it, the helper is not a part of the test.
func touch() error {
	out, err := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/devid-agent/devid-agent/hsm/module",
		"github.com/devid-agent/devid-agent/hsm/wire", "github.com/devid-agent/devid-agent/cmd/pkcs11").Output()
	if err != nil {
		return fmt.Errorf("find the sources of devid-pkcs11: %w", err)
	}
	for dir := range strings.FieldsSeq(string(out)) {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			return err
		}
		for _, f := range files {
			if _, err := os.Stat(f); err != nil {
				return err
			}
		}
	}
	return nil
}

// Require skips only for what is not installed: what is installed and does not work is a failure. It is a command
// in PATH, or a file.
func Require(t testing.TB, what, packages string) {
	t.Helper()
	_, err := exec.LookPath(what)
	if strings.HasPrefix(what, "/") {
		_, err = os.Stat(what)
	}
	if err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing: apt-get install %s", what, packages)
	}
	t.Skip("apt-get install " + packages)
}

// SoftHSM is the path of its library.
func SoftHSM(t testing.TB) string {
	t.Helper()
	const library = "/usr/lib/softhsm/libsofthsm2.so"
	Require(t, library, "softhsm2")
	return library
}

// Start makes a blank SoftHSM token.
func Start(t testing.TB) *Token {
	t.Helper()
	token := blank(t, SoftHSM(t))
	tokens := filepath.Join(token.dir, "tokens")
	if err := os.Mkdir(tokens, 0o700); err != nil {
		t.Fatal(err)
	}
	conf := token.write("softhsm2.conf", "directories.tokendir = "+tokens+"\nobjectstore.backend = file\nlog.level = ERROR\n")
	token.Env = []string{"SOFTHSM2_CONF=" + conf}
	token.Init(label)
	return token
}

// Init makes one more SoftHSM token beside the first.
func (k *Token) Init(label string) {
	k.t.Helper()
	k.run("softhsm2-util", "--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "so-5678")
}

func blank(t testing.TB, module string) *Token {
	t.Helper()
	k := &Token{t: t, dir: t.TempDir(), Module: module, StateDir: t.TempDir()}
	k.PINFile = k.write("pin", PIN+"\n")
	return k
}

func (k *Token) write(name, content string) string {
	k.t.Helper()
	path := filepath.Join(k.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		k.t.Fatal(err)
	}
	return path
}

// SetPIN writes another PIN into the PIN file.
func (k *Token) SetPIN(pin string) { k.write("pin", pin+"\n") }

// Pull takes the SoftHSM token out of its slot; PutBack puts it back.
func (k *Token) Pull()    { k.move("tokens", "pulled") }
func (k *Token) PutBack() { k.move("pulled", "tokens") }

func (k *Token) move(from, to string) {
	k.t.Helper()
	all, err := os.ReadDir(filepath.Join(k.dir, from))
	if err == nil {
		err = os.MkdirAll(filepath.Join(k.dir, to), 0o700)
	}
	for _, token := range all {
		if err == nil {
			err = os.Rename(filepath.Join(k.dir, from, token.Name()), filepath.Join(k.dir, to, token.Name()))
		}
	}
	if err != nil {
		k.t.Fatal(err)
	}
}

// URI names the token.
func (k *Token) URI() string {
	return "pkcs11:token=devid%20test?module-path=" + k.Module + "&pin-source=file:" + k.PINFile
}

// Config reaches the token; a test changes it as it likes.
func (k *Token) Config() hsm.Config {
	k.t.Helper()
	return hsm.Config{URI: k.URI(), StateDir: k.StateDir, Helper: Helper(k.t), Env: k.Env}
}

// Open opens a store until the test ends.
func (k *Token) Open(t testing.TB, c hsm.Config) *hsm.Store {
	t.Helper()
	s, err := hsm.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// Tool runs pkcs11-tool on the token, logged in, and returns what it prints.
func (k *Token) Tool(args ...string) string {
	k.t.Helper()
	Require(k.t, "pkcs11-tool", "opensc")
	return k.run("pkcs11-tool", append([]string{"--module", k.Module, "--token-label", label, "--login", "--pin", PIN}, args...)...)
}

func (k *Token) run(name string, args ...string) string {
	k.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), k.Env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		k.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
