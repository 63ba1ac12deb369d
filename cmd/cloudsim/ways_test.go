package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// freePort is a port of loopback that nobody had a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// freePorts is the first of n, below those that the system gives out.
func freePorts(t *testing.T, n int) int {
	t.Helper()
	for base := 20000; base < 30000; base += n {
		free := true
		for i := range n {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", base+i))
			if err != nil {
				free = false
				break
			}
			l.Close()
		}
		if free {
			return base
		}
	}
	t.Fatal("no free ports")
	return 0
}

// abandonSocket leaves the socket of a listener that is gone.
func abandonSocket(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

func TestEachWayInPrintsItsConfigurationAndWritesItsFiles(t *testing.T) {
	file := regexp.MustCompile(`"(/[^"]+)"`)
	for way, one := range map[string]struct {
		lines int
		want  []string
	}{
		"x509":      {4, []string{`bootstrap: {certificate: `, `id_scope: 0ne00SIM001`}},
		"symmetric": {4, []string{`attestation: symmetric, symmetric_key: "`}},
		"group":     {4, []string{`attestation: symmetric, group_key: "`}},
		"tpm":       {5, []string{`attestation: tpm, transport: https`, "create enrollment gw-1 --endorsement"}},
		"est":       {7, []string{"issuer: est", "csr: false"}},
		"ezca":      {7, []string{"algorithm: rsa-2048", "issuer: ezca", "token_file: "}},
		"ezca-est":  {7, []string{"issuer: est", "/eastus/.well-known/est"}},
		"direct":    {3, []string{"host: simhub.azure-devices.net"}},
		"sas":       {2, []string{"symmetric_key: "}},
		"module":    {3, []string{`module: agent`}},
	} {
		t.Run(way, func(t *testing.T) {
			dir := t.TempDir()
			text := running(t, one.lines, "--dir", dir, "--device", "gw-1", "--print", way)
			for _, want := range append(one.want, `device: {id: "gw-1"`) {
				if !strings.Contains(text, want) {
					t.Errorf("no %s in\n%s", want, text)
				}
			}
			for _, name := range file.FindAllStringSubmatch(text, -1) {
				info, err := os.Stat(name[1])
				if err != nil {
					t.Error(err)
				} else if secret := !strings.HasSuffix(name[1], ".pem"); secret && info.Mode().Perm() != 0o600 {
					t.Errorf("%s: %v", name[1], info.Mode())
				}
			}
			if !strings.Contains(text, filepath.Join(dir, "roots.pem")) {
				t.Errorf("no roots in\n%s", text)
			}
		})
	}
}

func TestTheBasePortIsTheFirstOfAll(t *testing.T) {
	text := strconv.Itoa(freePorts(t, 9))
	dir := t.TempDir()
	config := running(t, 4, "--dir", dir, "--device", "gw-1", "--base-port", text)
	if !strings.Contains(config, fmt.Sprintf(`connect: "127.0.0.1:%s", id_scope`, text)) {
		t.Errorf("DPS is not at port %s:\n%s", text, config)
	}
}

func TestSIGHUPReadsTheTemperAgain(t *testing.T) {
	guard := make(chan os.Signal, 1) // whatever happens, the signal does not end the tests
	signal.Notify(guard, syscall.SIGHUP)
	defer signal.Stop(guard)
	dir := t.TempDir()
	file := filepath.Join(dir, "temper.json")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"LostAck":7}`)
	said, diagnostics := io.Pipe()
	ctx, stop := context.WithCancel(t.Context())
	out, in := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"--dir", dir, "--device", "gw-1", "--temper", file, "--set", "LostAck=9"}, nil, in, diagnostics)
		diagnostics.Close()
	}()
	heard := bufio.NewScanner(said)
	next := func(part string) {
		t.Helper()
		for heard.Scan() {
			if strings.Contains(heard.Text(), part) {
				return
			}
		}
		t.Errorf("never heard %q", part)
	}
	next("EZCA at")
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, out)
	r := remote{t, []string{"--dir", dir}}
	r.want(`"LostAck": 9`, "temper")
	for _, step := range []struct{ file, said, temper string }{
		{`{"Latency":"20ms"}`, "read again", `"Latency": "20ms"`},
		{`{"Latency":`, "stays as it was", `"Latency": "20ms"`},
	} {
		write(step.file)
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		next(step.said)
		r.want(step.temper, "temper")
		r.want(`"LostAck": 9`, "temper")
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
