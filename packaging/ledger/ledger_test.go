package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestASymbolIsBookedToItsPackage(t *testing.T) {
	const main = "github.com/devid-agent/devid-agent/cmd/agent"
	for name, want := range map[string]string{
		"github.com/eclipse/paho%2emqtt%2egolang.(*client).Connect":                           "github.com/eclipse/paho.mqtt.golang",
		"go.yaml.in/yaml/v3.yaml_parser_parse":                                                "go.yaml.in/yaml/v3",
		"slices.SortFunc[go.shape.[]github.com/google/go-tpm/tpm2.X,go.shape.int]":            "slices",
		"go:itab.*github.com/devid-agent/devid-agent/fault.x,error":                           "github.com/devid-agent/devid-agent/fault",
		"type:.eq.crypto/tls.sessionState":                                                    "crypto/tls",
		"main.(*agent).run":                                                                   main,
		"main.world.(github.com/devid-agent/devid-agent/keys.Store).Open":                     main,
		"vendor/golang.org/x/net/idna.Punycode":                                               "vendor/golang.org/x/net/idna",
		"go:func.*":                                                                           "(go:func.*)",
		"crypto/internal/fips140/nistec.p256PrecomputedEmbed":                                 "crypto/internal/fips140/nistec",
		"github.com/devid-agent/devid-agent/telemetry/spool.(*Spool).Append.func1.deferwrap1": "github.com/devid-agent/devid-agent/telemetry/spool",
	} {
		if got := packageOf(name, main); got != want {
			t.Errorf("%s is booked to %s, want %s", name, got, want)
		}
	}
}

func TestThePackageWithTheLongestModulePathWins(t *testing.T) {
	modules := []string{"example.com/a", "example.com/a/b"}
	for pkg, want := range map[string]string{"example.com/a/b/c": "example.com/a/b", "example.com/a/x": "example.com/a", "example.com/ab": std, "net/http": std} {
		if got := moduleOf(pkg, modules); got != want {
			t.Errorf("%s is of %s, want %s", pkg, got, want)
		}
	}
}

func TestTheLedgerAddsUpToTheFile(t *testing.T) {
	dir := t.TempDir()
	for name, flags := range map[string]string{"full": "", "shipped": "-s -w"} {
		cmd := exec.Command("go", "build", "-ldflags", flags, "-o", filepath.Join(dir, name), "github.com/devid-agent/devid-agent/cmd/service")
		cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	var out bytes.Buffer
	if err := run(filepath.Join(dir, "full"), filepath.Join(dir, "shipped"), &out); err != nil {
		t.Fatal(err)
	}
	stat, err := os.Stat(filepath.Join(dir, "shipped"))
	if err != nil {
		t.Fatal(err)
	}
	var modules, rest int64
	for line := range strings.Lines(out.String()) {
		number, what, _ := strings.Cut(strings.TrimSpace(line), " ")
		bytes, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		switch _, name, _ := strings.Cut(what, "%  "); {
		case strings.HasPrefix(name, " "), name == "as shipped":
		case name == "headers and padding":
			rest = bytes
		default:
			modules += bytes
		}
	}
	if size := stat.Size(); modules+rest != size || rest < 0 || rest > size/10 {
		t.Errorf("modules %d and rest %d make a file of %d:\n%s", modules, rest, size, out.String())
	}
	if !strings.Contains(out.String(), "github.com/kardianos/service") {
		t.Errorf("a linked module is not in the ledger:\n%s", out.String())
	}
}
