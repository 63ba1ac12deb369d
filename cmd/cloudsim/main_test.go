package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

// running starts the program and returns the configuration that it printed.
func running(t *testing.T, lines int, args ...string) string {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	out, in := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, args, nil, in, t.Output())
		in.Close()
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	var snippet strings.Builder
	for s := bufio.NewScanner(out); lines > 0 && s.Scan(); lines-- {
		snippet.WriteString(s.Text() + "\n")
	}
	return snippet.String()
}

func TestADeviceGetsWhatItNeedsToConnect(t *testing.T) {
	program, err := exec.LookPath("mosquitto_pub")
	if err != nil {
		t.Skip("install mosquitto-clients")
	}
	dir := t.TempDir()
	record := filepath.Join(dir, "record.jsonl")
	config := running(t, 4, "--dir", dir, "--device", "gw-1", "--record", record)
	m := regexp.MustCompile(`connect: "127\.0\.0\.1:(\d+)", id_scope: 0ne00SIM001, roots: "([^"]+)"`).FindStringSubmatch(config)
	if m == nil || !strings.Contains(config, `device: {id: "gw-1"}`) || !strings.Contains(config, filepath.Join(dir, "bootstrap.key")) {
		t.Fatalf("configuration:\n%s", config)
	}
	if info, err := os.Stat(filepath.Join(dir, "bootstrap.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v %v", info, err)
	}
	out, err := exec.CommandContext(t.Context(), program, "-V", "mqttv311", "-h", "localhost", "-p", m[1], "--cafile", m[2],
		"--cert", filepath.Join(dir, "bootstrap.pem"), "--key", filepath.Join(dir, "bootstrap.key"), "-i", "gw-1", "-q", "1",
		"-u", sim.IDScope+"/registrations/gw-1/api-version=2025-07-01-preview",
		"-t", "$dps/registrations/PUT/iotdps-register/?$rid=1", "-m", "{}").CombinedOutput()
	if err != nil {
		t.Errorf("register: %v: %s", err, out)
	}
	if _, err := os.Stat(record); err != nil {
		t.Error(err)
	}
}

func TestARequestMadeElsewhereIsCertified(t *testing.T) {
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "gw-2"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "gw-2.csr")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	running(t, 4, "--dir", dir, "--csr", file)
	b, err := os.ReadFile(filepath.Join(dir, "bootstrap.pem"))
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(b, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	if err != nil || len(pair.Certificate) != 3 {
		t.Errorf("chain of %d: %v", len(pair.Certificate), err)
	}
}

func TestTheRecordKeepsEveryBody(t *testing.T) {
	file := filepath.Join(t.TempDir(), "record")
	r, err := openRecorder(file)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r.write(sim.Message{Time: at, Device: "d", Session: 3, Properties: map[string]string{"seq": "7", "stream": "cpu"}, Body: []byte(`{"v":1}`)})
	r.write(sim.Message{Time: at, Device: "d", Session: 3, DUP: true, Properties: map[string]string{"seq": "x"}, Body: []byte{0xff}})
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	want := `{"time":"2026-01-02T03:04:05Z","device":"d","stream":"cpu","seq":7,"session":3,"properties":{"seq":"7","stream":"cpu"},"body":{"v":1}}
{"time":"2026-01-02T03:04:05Z","device":"d","session":3,"dup":true,"properties":{"seq":"x"},"base64":"/w=="}
`
	if got, err := os.ReadFile(file); err != nil || string(got) != want {
		t.Errorf("%v\n%s", err, got)
	}
}

func TestTemperComesFromAFileAndThenFromFlags(t *testing.T) {
	file := filepath.Join(t.TempDir(), "temper.json")
	if err := os.WriteFile(file, []byte(`{"Latency": "50ms", "LostAck": 1000000, "tls12only": true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := (&options{weather: file, set: list{"lostack=7", "OldCert=dies-connect"}}).temper()
	if err != nil || got.Latency != 50*time.Millisecond || got.LostAck != 7 || !got.TLS12Only || got.OldCert != sim.OldCertDiesAtConnect {
		t.Errorf("%+v, %v", got, err)
	}
	for _, wrong := range []string{"Fault=x", "Lost=1", "LostAck=often", "Latency=5", "OldCert=maybe"} {
		if _, err := (&options{set: list{wrong}}).temper(); err == nil {
			t.Errorf("%s was taken", wrong)
		}
	}
}

func TestWhatIsNoFlagIsAMistake(t *testing.T) {
	for _, args := range [][]string{{"start"}, {"--colour", "red"}, {"--life", "soon"}, {"--print", "magic"}, {"ctl"}, {"ctl", "dance"}, {"ctl", "create", "house"}} {
		var said bytes.Buffer
		if err := run(t.Context(), args, nil, io.Discard, &said); !errors.Is(err, errUsage) || said.Len() == 0 {
			t.Errorf("%v: %v, %q", args, err, said.String())
		}
	}
}
