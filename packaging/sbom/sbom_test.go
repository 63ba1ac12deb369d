package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// describe builds a small program of ours for arm64, and returns its document as others read it.
func describe(t *testing.T) (program string, document map[string]any) {
	t.Helper()
	program = filepath.Join(t.TempDir(), "devid-service-arm64")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-tags", "nethttpomithttp2", "-o", program,
		"github.com/devid-agent/devid-agent/cmd/service")
	build.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := write(program, "1.2.3", time.Unix(1700000000, 0).UTC()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(program + ".cdx.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	return program, document
}

func object(v any) map[string]any { m, _ := v.(map[string]any); return m }
func list(v any) []any            { l, _ := v.([]any); return l }
func text(v any) string           { s, _ := v.(string); return s }

// components is the described program and all that it is made of.
func components(document map[string]any) []map[string]any {
	all := []map[string]any{object(object(document["metadata"])["component"])}
	for _, c := range list(document["components"]) {
		all = append(all, object(c))
	}
	return all
}

func TestTheDocumentIsWhatCycloneDX16Requires(t *testing.T) {
	_, d := describe(t)
	if d["bomFormat"] != "CycloneDX" || d["specVersion"] != "1.6" || d["version"] != 1.0 {
		t.Errorf("%v %v, version %v", d["bomFormat"], d["specVersion"], d["version"])
	}
	// The pattern is the schema's own (bom-1.6.schema.json, serialNumber).
	if !regexp.MustCompile(`^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`).MatchString(text(d["serialNumber"])) {
		t.Errorf("serialNumber %v", d["serialNumber"])
	}
	if _, err := time.Parse(time.RFC3339, text(object(d["metadata"])["timestamp"])); err != nil {
		t.Error(err)
	}
	types := []string{"application", "library"} // of the schema's list, those that a Go program is made of
	for _, c := range components(d) {
		if text(c["name"]) == "" || !slices.Contains(types, text(c["type"])) {
			t.Errorf("component %v of type %v", c["name"], c["type"])
		}
		for _, h := range list(c["hashes"]) {
			if h := object(h); h["alg"] != "SHA-256" || !regexp.MustCompile(`^[a-f0-9]{64}$`).MatchString(text(h["content"])) {
				t.Errorf("%v: hash %v", c["name"], h)
			}
		}
		checkLicenses(t, c)
	}
}

// checkLicenses: either one expression or a list of licenses with SPDX names (licenseChoice of the schema).
func checkLicenses(t *testing.T, c map[string]any) {
	t.Helper()
	choices := list(c["licenses"])
	if len(choices) == 0 {
		t.Errorf("%v: no license", c["name"])
	}
	for _, choice := range choices {
		id, expression := object(object(choice)["license"])["id"], object(choice)["expression"]
		if (id == nil) == (expression == nil) || expression != nil && len(choices) != 1 {
			t.Errorf("%v: licenses %v", c["name"], choices)
		}
	}
}

func TestEachReferenceLeadsToOneComponent(t *testing.T) {
	_, d := describe(t)
	refs := map[string]int{}
	for _, c := range components(d) {
		refs[text(c["bom-ref"])]++
	}
	for ref, times := range refs {
		if times != 1 || ref == "" {
			t.Errorf("bom-ref %q is used %d times", ref, times)
		}
	}
	described := map[string]bool{}
	for _, item := range list(d["dependencies"]) {
		ref := text(object(item)["ref"])
		if described[ref] || refs[ref] == 0 {
			t.Errorf("dependencies of %q", ref)
		}
		described[ref] = true
		for _, on := range list(object(item)["dependsOn"]) {
			if refs[text(on)] == 0 || text(on) == ref {
				t.Errorf("%q depends on %q", ref, on)
			}
		}
	}
	for ref := range refs {
		if !described[ref] {
			t.Errorf("what %q depends on is not said", ref)
		}
	}
}

func TestTheDocumentNamesEveryLinkedModule(t *testing.T) {
	program, d := describe(t)
	out, err := exec.Command("go", "version", "-m", program).Output()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		if len(words) < 4 || words[0] != "dep" {
			continue
		}
		found++
		url := "pkg:golang/" + words[1] + "@" + strings.ReplaceAll(words[2], "+", "%2B")
		if !slices.ContainsFunc(components(d), func(c map[string]any) bool {
			return c["purl"] == url && c["version"] == words[2] && strings.Contains(string(mustJSON(t, c["properties"])), words[3])
		}) {
			t.Errorf("%s with its sum is linked, and not in the document", url)
		}
	}
	if found == 0 {
		t.Error("go version -m lists no modules")
	}
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestTheSameProgramHasTheSameDocument(t *testing.T) {
	program, _ := describe(t)
	first, err := os.ReadFile(program + ".cdx.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := write(program, "1.2.3", time.Unix(1700000000, 0).UTC()); err != nil {
		t.Fatal(err)
	}
	if second, err := os.ReadFile(program + ".cdx.json"); err != nil || !bytes.Equal(first, second) {
		t.Errorf("the second document is another one: %v", err)
	}
}

func TestTheNoticesHoldTheLicenseOfEveryModule(t *testing.T) {
	program, d := describe(t)
	words, err := os.ReadFile(program + ".notices")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range components(d)[1:] {
		if !bytes.Contains(words, []byte("==== "+text(c["name"])+": ")) {
			t.Errorf("nothing about %v", c["name"])
		}
	}
}

func TestALicenseThatNobodyHasReadStopsTheRelease(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "LICENSE"), []byte("All rights reserved."), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := licenses("example.com/module", dir); err == nil {
		t.Errorf("taken for %v", got)
	}
	if got, err := licenses("example.com/module", t.TempDir()); err == nil {
		t.Errorf("without a license file: %v", got)
	}
}
