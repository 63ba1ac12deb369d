package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// remote asks a running cloud by ctl.
type remote struct {
	*testing.T
	where []string
}

func (r remote) try(args ...string) (string, error) {
	var out bytes.Buffer
	err := run(r.Context(), append(append([]string{"ctl"}, r.where...), args...), strings.NewReader(`{"from":"stdin"}`), &out, io.Discard)
	return out.String(), err
}

func (r remote) want(part string, args ...string) string {
	r.Helper()
	out, err := r.try(args...)
	if err != nil || !strings.Contains(out, part) {
		r.Errorf("%v: %v %s, want %q", args, err, out, part)
	}
	return out
}

func (r remote) refused(part string, args ...string) {
	r.Helper()
	if out, err := r.try(args...); err == nil || !strings.Contains(err.Error(), part) {
		r.Errorf("%v: %v %s, want %q", args, err, out, part)
	}
}

func TestCtlRulesARunningCloud(t *testing.T) {
	dir := t.TempDir()
	running(t, 4, "--dir", dir, "--device", "gw-1")
	r := remote{t, []string{"--dir", dir}}
	if info, err := os.Stat(filepath.Join(dir, "control.sock")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v %v", info, err)
	}
	key := filepath.Join(dir, "key")
	if err := os.WriteFile(key, []byte("a2V5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.want(`"auth": "certificateAuthority"`, "create", "device", "d")
	r.want(`"a2V5"`, "create", "device", "d", "--key", key)
	r.want(`"id": "d"`, "list")
	r.want(`"kind": "tpm"`, "create", "enrollment", "e", "--endorsement", key, "--device", "x")
	r.want(`"id": "e"`, "list", "enrollments")
	for _, verb := range []string{"disable", "enable", "expire", "revoke", "disconnect"} {
		r.want("", verb, "d")
	}
	r.want("", "disable", "enrollment", "e")
	r.want(`"version": 2`, "set-desired", "d", "-")
	r.want(`"from": "stdin"`, "twin", "d")
	r.refused("404103", "invoke", "d", "reboot", "{}", "--timeout", "1s")
	r.refused("404103 device d was never connected", "send", "d", "--property", "a=b", "hello")
	r.want(`"Status": 503`, "temper", "EZCA.Status=503", "Latency=50ms")
	r.want(`"Latency": "50ms"`, "temper")
	r.want(`{}`, "temper", "--reset")
	r.want(`"Latency": "0s"`, "temper", "--all")
	r.refused("Lost is not one of", "temper", "Lost=1")
	r.want(`"kind":"desired"`, "events", "d")
	r.want("", "received", "--after", "0")
	r.want(`"total"`, "counters")
	if token := r.want("", "ezca-token"); len(strings.TrimSpace(token)) != 64 {
		t.Errorf("token %q", token)
	}
	r.want("", "delete", "enrollment", "e")
	r.refused("no enrollment e", "delete", "enrollment", "e")
	r.refused("404001", "twin", "nobody")
}

func TestACommandOfCtlThatIsWrongIsExplained(t *testing.T) {
	for _, args := range [][]string{{"disable"}, {"disable", "a", "b", "c"}, {"send", "d"}, {"invoke", "d", "m", "--colour"}, {"create", "device"}} {
		var said bytes.Buffer
		err := run(t.Context(), append([]string{"ctl", "--dir", t.TempDir()}, args...), nil, io.Discard, &said)
		if !errors.Is(err, errUsage) || !strings.Contains(said.String(), "usage: devid-cloudsim ctl") {
			t.Errorf("%v: %v %s", args, err, said.String())
		}
	}
	if _, err := (remote{t, []string{"--dir", t.TempDir()}}).try("list"); err == nil {
		t.Error("no cloud runs, and there is a list")
	}
}

func TestAControlPortAsksForTheSecretInItsFile(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "control.secret")
	if err := os.WriteFile(secret, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	running(t, 4, "--dir", dir, "--device", "gw-1", "--control", port)
	remote{t, []string{"--dir", dir, "--control", port}}.want("[]", "list")
	if err := os.WriteFile(secret, []byte("guess\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	remote{t, []string{"--dir", dir, "--control", port}}.refused("secret", "list")
	for _, address := range []string{"0.0.0.0:4000", "192.0.2.1:4000", "4000"} {
		if err := run(t.Context(), []string{"--dir", t.TempDir(), "--control", address}, nil, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "loopback") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestTwoCloudsDoNotShareADirectory(t *testing.T) {
	dir := t.TempDir()
	running(t, 4, "--dir", dir, "--device", "gw-1")
	if err := run(t.Context(), []string{"--dir", dir}, nil, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "another cloud") {
		t.Errorf("%v", err)
	}
}

func TestACloudThatWasKilledLeavesNothingInTheWay(t *testing.T) {
	dir := t.TempDir()
	ctx, kill := context.WithCancel(t.Context())
	kill()
	if err := run(ctx, []string{"--dir", dir}, nil, io.Discard, io.Discard); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	abandonSocket(t, filepath.Join(dir, "control.sock"))
	running(t, 4, "--dir", dir, "--device", "gw-1")
	remote{t, []string{"--dir", dir}}.want("[]", "list")
}

func TestEverythingIsInCloudJSON(t *testing.T) {
	dir := t.TempDir()
	running(t, 4, "--dir", dir, "--device", "gw-1")
	b, err := os.ReadFile(filepath.Join(dir, "cloud.json"))
	if err != nil {
		t.Fatal(err)
	}
	var d description
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"dps": d.DPS.Connect, "dpsWeb": d.DPSWeb.Connect, "hub": d.Hub.Connect, "hubWeb": d.HubWeb.Connect,
		"management": d.Management.Connect, "est": d.EST.URL, "ezca": d.EZCA.EST, "entra": d.Entra.ClientSecret, "entra object": d.Entra.ObjectID, "imds": d.Entra.ManagedIdentity,
		"hub string": d.HubConnectionString, "dps string": d.DPSConnectionString} {
		if len(value) < 10 {
			t.Errorf("%s: %q", name, value)
		}
	}
	for _, file := range []string{d.Roots, d.EST.Anchors, d.EZCA.Issuers} {
		if b, err := os.ReadFile(file); err != nil || !bytes.HasPrefix(b, []byte("-----BEGIN CERTIFICATE-----")) {
			t.Errorf("%s: %v", file, err)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "cloud.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
}
