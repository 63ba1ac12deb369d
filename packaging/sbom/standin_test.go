package main

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"
)

// agent builds the agent as it is released.
func agent(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "devid-agent-arm64")
	build := exec.Command("../build.sh", path)
	build.Env = append(os.Environ(), "TAGS=nethttpomithttp2", "GCFLAGS=", "LDFLAGS=-s -w")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

func TestAStandInIsDescribedAsAPartOfTheProject(t *testing.T) {
	path := agent(t)
	if err := write(path, "1.2.3", time.Unix(1700000000, 0).UTC()); err != nil {
		t.Fatal(err)
	}
	document, err := os.ReadFile(path + ".cdx.json")
	if err != nil {
		t.Fatal(err)
	}
	var d map[string]any
	if err := json.Unmarshal(document, &d); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, c := range components(d) {
		found[text(c["purl"])] = string(mustJSON(t, c["licenses"])) + string(mustJSON(t, c["properties"]))
	}
	const ours = "pkg:golang/github.com/devid-agent/devid-agent@1.2.3#third_party/"
	for purl, says := range map[string][]string{
		ours + "websocket":                           {`"Apache-2.0"`, "in-place-of", "github.com/gorilla/websocket@v"},
		ours + "net":                                 {`"Apache-2.0"`, "in-place-of", "golang.org/x/net@v"},
		"pkg:golang/go.yaml.in/yaml/v3@v3.0.6":       {"MIT AND Apache-2.0", "changed-by", "third_party/yaml"},
		"pkg:golang/github.com/google/go-tpm@v0.9.8": {"devid:go:sum"},
	} {
		for _, words := range says {
			if !strings.Contains(found[purl], words) {
				t.Errorf("%s does not say %s: %q", purl, words, found[purl])
			}
		}
	}
	words, err := os.ReadFile(path + ".notices")
	if err != nil {
		t.Fatal(err)
	}
	for module, want := range map[string]bool{"go.yaml.in/yaml/v3": true, "github.com/gorilla/websocket": false, "golang.org/x/net": false} {
		if got := strings.Contains(string(words), "==== "+module+": "); got != want {
			t.Errorf("the license of %s is passed on: %t", module, got)
		}
	}
}

func TestAModuleThatIsReplacedFromElsewhereStopsTheRelease(t *testing.T) {
	for _, from := range []string{"../fork", "example.com/fork", "/tmp/third_party/x"} {
		p := &program{dirs: map[string]string{}, info: &debug.BuildInfo{Deps: []*debug.Module{{Path: "example.com/m", Replace: &debug.Module{Path: from}}}}}
		if err := p.settle(); err == nil {
			t.Errorf("replaced by %s, and nothing is said", from)
		}
	}
}

func TestTheAgentIsBuiltOfTheSameBytesTwiceAndNamesNoPlace(t *testing.T) {
	first, err := os.ReadFile(agent(t))
	if err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(agent(t))
	if err != nil {
		t.Fatal(err)
	}
	if string(first) != string(second) {
		t.Error("the second agent is another one")
	}
	for _, place := range []string{os.TempDir() + "/tmp", mustAbs(t, "../..")} {
		if strings.Contains(string(first), place) {
			t.Errorf("the agent names %s", place)
		}
	}
}

func mustAbs(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

func TestTheChangedParserHasTheRightsOfItsModule(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{.Dir}}", "go.yaml.in/yaml/v3").Output()
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := legal("yaml", strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	here, err := legal("yaml", "../../third_party/yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(contents(t, theirs), contents(t, here)) {
		t.Errorf("copy %v to third_party/yaml", theirs)
	}
	if !slices.ContainsFunc(here, func(f string) bool { return filepath.Base(f) == "LICENSE" }) {
		t.Error("third_party/yaml has no license")
	}
}

func contents(t *testing.T, files []string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(f)] = string(b)
	}
	return all
}
