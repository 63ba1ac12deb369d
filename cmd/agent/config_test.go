package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"io/fs"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/hsm"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/telemetry/sensors"
)

var updateConfig = flag.Bool("update-config", false, "write the golden list of complaints")

// etc is a directory with the files that a good configuration names.
func etc(t *testing.T, deviceID string) string {
	t.Helper()
	dir := t.TempDir()
	chain, key := credential(t, deviceID)
	place(t, dir, "bootstrap.pem", chain, 0o644)
	place(t, dir, "bootstrap.key", key, 0o600)
	place(t, dir, "roots.pem", chain, 0o644)
	return dir
}

// credential is a certificate for name and its key, as PEM.
func credential(t *testing.T, name string) (chain, key []byte) {
	t.Helper()
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &signer.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

func place(t *testing.T, dir, name string, content []byte, mode fs.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := errors.Join(os.WriteFile(path, content, mode), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
	return path
}

const good = `
device: {id: gateway-0042}
bootstrap: {certificate: bootstrap.pem, key: bootstrap.key}
provisioning: {dps: {id_scope: 0ne00ABCDEF}}
`

// complaints loads text from a directory of good files and returns what is wrong, without the name of the file.
func complaints(t *testing.T, text string) []string {
	t.Helper()
	dir := etc(t, "gateway-0042")
	return complaintsIn(t, dir, text)
}

func complaintsIn(t *testing.T, dir, text string) []string {
	t.Helper()
	path := place(t, dir, "agent.yaml", []byte(text), 0o644)
	_, err := loadConfig(path)
	if err == nil {
		return nil
	}
	all, ok := errors.AsType[*configError](err)
	if !ok {
		t.Fatalf("the error is no configError: %v", err)
	}
	var lines []string
	for _, p := range all.Problems {
		if p.File != path || p.Problem == "" || p.Remedy == "" {
			t.Errorf("a problem without file or words: %+v", p)
		}
		lines = append(lines, strings.ReplaceAll(strings.TrimPrefix(p.String(), path), dir+"/", ""))
	}
	return lines
}

func TestExampleLoadsAndItsDefaultsAreTheDefaults(t *testing.T) {
	text, err := os.ReadFile("../../examples/agent.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := etc(t, "gateway-0042")
	here := bytes.ReplaceAll(text, []byte("/etc/devid-agent"), []byte(dir))
	asItIs, err := loadConfig(place(t, dir, "agent.yaml", here, 0o644))
	if err != nil {
		t.Fatalf("as it is:\n%v", err)
	}
	all := regexp.MustCompile(`(?m)^( *)#(\w)`).ReplaceAll(here, []byte("$1$2"))
	spelled, err := loadConfig(place(t, dir, "all.yaml", all, 0o644))
	if err != nil {
		t.Fatalf("with every default spelled out:\n%v", err)
	}
	want := defaultConfig()
	want.Device.ID, want.Provisioning.DPS.IDScope = "gateway-0042", "0ne00ABCDEF"
	want.Bootstrap.Certificate, want.Bootstrap.Key = filepath.Join(dir, "bootstrap.pem"), filepath.Join(dir, "bootstrap.key")
	want.settle()
	if !reflect.DeepEqual(asItIs, want) {
		t.Errorf("as it is:\n%+v\nwant\n%+v", asItIs, want)
	}
	unlike(t, text, reflect.ValueOf(*want), reflect.ValueOf(*spelled), "")
}

// unlike fails for each field where a default that is not zero differs from what the example says it is, and for
// each that the example does not name.
func unlike(t *testing.T, text []byte, want, got reflect.Value, path string) {
	for _, k := range keysOf(want.Type()) {
		w, g, field := want.FieldByIndex(k.index), got.FieldByIndex(k.index), join(path, k.name)
		switch {
		case w.Kind() == reflect.Struct:
			unlike(t, text, w, g, field)
		case !w.IsZero() && !reflect.DeepEqual(w.Interface(), g.Interface()):
			t.Errorf("%s: the example says that the default is %v, and it is %v", field, g, w)
		case g.IsZero() && field != "log.level" && !bytes.Contains(text, []byte(k.name+":")):
			t.Errorf("%s: the example does not name it", field)
		}
	}
}

func TestWordsOfTheConfigurationAreThoseOfTheRooms(t *testing.T) {
	words := map[string][]string{}
	walk(reflect.TypeFor[Config](), "", func(field string, k key) { words[field] = k.oneof })
	var algorithms []string
	for _, a := range keys.Algorithms {
		algorithms = append(algorithms, string(a))
	}
	algorithms = append(algorithms, string(hsm.RSA4096))
	if got := words["keys.algorithm"]; !slices.Equal(got, algorithms) {
		t.Errorf("keys.algorithm is one of %v, and the keys are %v", got, algorithms)
	}
	if got := words["telemetry.sensors.sources"]; !slices.Equal(got, sensors.Names()) {
		t.Errorf("telemetry.sensors.sources is one of %v, and the sensors are %v", got, sensors.Names())
	}
}

func TestEveryValueArrivesTyped(t *testing.T) {
	dir := etc(t, "gateway-0042")
	path := place(t, dir, "agent.yaml", []byte(`
device: {id: gateway-0042, state: state}
keys: {tpm: "swtpm:path=/tmp/tpm.sock", algorithm: rsa-2048}
bootstrap: {certificate: bootstrap.pem, key: bootstrap.key}
provisioning:
  dps: {endpoint: dps.test, connect: "[::1]:8883", id_scope: 0ne1, api_version: 2026-11-01, csr: true, roots: roots.pem, deadline: 90s}
hub: {connect: 127.0.0.1:8883, roots: roots.pem, api_version: 2025-08-01-preview, window: 32, keep_alive: 1m30s, stall: 45s}
telemetry:
  sensors: {enabled: true, interval: 500ms, sources: [load, memory]}
  ingest: {socket: "", mode: 0640}
  spool: {max_bytes: 10 MB, segment_bytes: 65536}
renewal: {issuer: dps, check: 2s}
remote:
status: {file: status.json}
log: {level: debug, format: json}
`), 0o644)
	c, err := loadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	want := defaultConfig()
	want.Device.ID, want.Device.State = "gateway-0042", filepath.Join(dir, "state")
	want.Keys.TPM, want.Keys.Algorithm = "swtpm:path=/tmp/tpm.sock", "rsa-2048"
	want.Bootstrap.Certificate, want.Bootstrap.Key = filepath.Join(dir, "bootstrap.pem"), filepath.Join(dir, "bootstrap.key")
	dps := &want.Provisioning.DPS
	dps.Endpoint, dps.Connect, dps.IDScope, dps.APIVersion = "dps.test", "[::1]:8883", "0ne1", "2026-11-01"
	dps.Roots, dps.Deadline = filepath.Join(dir, "roots.pem"), 90*time.Second
	hub := &want.Hub
	hub.Connect, hub.Roots, hub.APIVersion = "127.0.0.1:8883", filepath.Join(dir, "roots.pem"), "2025-08-01-preview"
	hub.Window, hub.KeepAlive, hub.Stall = 32, 90*time.Second, 45*time.Second
	want.Telemetry.Sensors.Interval, want.Telemetry.Sensors.Sources = 500*time.Millisecond, []string{"load", "memory"}
	want.Telemetry.Ingest.Socket, want.Telemetry.Ingest.Mode = "", 0o640
	want.Telemetry.Spool.MaxBytes, want.Telemetry.Spool.SegmentBytes = 10_000_000, 65536
	want.Renewal.Issuer, want.Renewal.Check = issuerDPS, 2*time.Second
	want.Status.File = filepath.Join(dir, "status.json")
	want.Log.Level, want.Log.Format = slog.LevelDebug, "json"
	want.settle()
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got\n%+v\nwant\n%+v", c, want)
	}
}

func TestTerribleFileIsToldEverythingInFileOrder(t *testing.T) {
	text, err := os.ReadFile("testdata/terrible.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(complaints(t, string(text)), "\n") + "\n"
	const golden = "testdata/terrible.txt"
	if *updateConfig {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestComplaintsAreJSONForPrograms(t *testing.T) {
	path := place(t, etc(t, "gateway-0042"), "agent.yaml", []byte(good+"log: {level: loud}\n"), 0o644)
	_, err := loadConfig(path)
	text, bad := json.Marshal(err)
	var got []map[string]any
	if bad != nil || json.Unmarshal(text, &got) != nil || len(got) != 1 {
		t.Fatalf("%s: %v", text, bad)
	}
	want := map[string]any{"file": path, "line": 5.0, "column": 14.0, "field": "log.level", "problem": `unknown value "loud"`,
		"remedy": "write one of debug, info, warn, error"}
	if !reflect.DeepEqual(got[0], want) {
		t.Errorf("got %v\nwant %v", got[0], want)
	}
}

func FuzzConfigNeverPanicsAndAlwaysSaysWhere(f *testing.F) {
	for _, file := range []string{"../../examples/agent.yaml", "testdata/terrible.yaml"} {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	for _, text := range []string{good, "", "a: &a [*a]", "<<: 1", "? [x]\n: 1", "device: {id: !!binary AA==}", "\t", "hub: {window: 0x10}", "telemetry: {sensors: {sources: [[load]]}}"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 4<<10 {
			return // finding the line of a mistake takes a time that grows with the square
		}
		c, err := parseConfig("agent.yaml", text, nil)
		if (c == nil) != (err != nil) {
			t.Fatalf("%v and %v", c, err)
		}
		all, _ := errors.AsType[*configError](err)
		if all == nil {
			return
		}
		lines := 1 + bytes.Count(text, []byte("\n"))
		for _, alone := range []string{"\r", "\u0085", "\u2028", "\u2029"} { // YAML 1.1 ends a line at these too
			lines += bytes.Count(text, []byte(alone))
		}
		for _, p := range all.Problems {
			if p.Problem == "" || p.Remedy == "" || p.Line < 0 || p.Line > lines || p.Line > 0 && p.Column < 1 {
				t.Errorf("of %d lines: %+v", lines, p)
			}
		}
	})
}
