package ingest

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// block is a piece of code of docs/ingest.md, and the readings that a comment before it says it stores.
type block struct {
	language, code string
	stores         []string
}

var fence = regexp.MustCompile("(?s)((?:<!-- stores: [^\n]* -->\n)*)\n?```([a-z]+)\n(.*?)```\n")

// blocks returns the document's pieces of code in this language.
func blocks(t testing.TB, language string) (all []block) {
	t.Helper()
	text, err := os.ReadFile("../../docs/ingest.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range fence.FindAllStringSubmatch(string(text), -1) {
		if m[2] != language {
			continue
		}
		b := block{language: language, code: m[3]}
		for line := range strings.Lines(m[1]) {
			line = strings.TrimSuffix(strings.TrimPrefix(line, "<!-- stores: "), " -->\n")
			b.stores = append(b.stores, line)
		}
		all = append(all, b)
	}
	if len(all) == 0 {
		t.Fatalf("docs/ingest.md has no code in %s", language)
	}
	return all
}

// The document's snippets are run as they stand there, but for the paths and the port.
func TestSnippetsOfTheDocumentStoreWhatTheySay(t *testing.T) {
	for language, runIt := range map[string]func(*testing.T, string){"sh": runShell, "python": runPython, "c": runC} {
		for i, b := range blocks(t, language) {
			if len(b.stores) == 0 {
				t.Errorf("%s %d: the document does not say what it stores", language, i)
				continue
			}
			live, found := disk(t)
			w := serve(t, &Server{Spool: live})
			m := listen(t, &MQTT{Server: w.Server, Listen: "127.0.0.1:0"})
			_, port, _ := net.SplitHostPort(m.addr.String())
			runIt(t, strings.NewReplacer("/run/devid-agent/ingest.sock", w.Path, "1883", port).Replace(b.code))
			m.settled(t)
			if got := found(); !slices.Equal(got, b.stores) {
				t.Errorf("%s %d stores %q, and says %q", language, i, got, b.stores)
			}
		}
	}
}

func runShell(t *testing.T, code string) {
	t.Helper()
	need(t, "curl", "curl")
	need(t, "mosquitto_pub", "mosquitto-clients")
	run(t, code, "sh", "-eu")
}

func runPython(t *testing.T, code string) {
	t.Helper()
	run(t, "", systemPython(t), "-c", code)
}

func runC(t *testing.T, code string) {
	t.Helper()
	cc := need(t, "cc", "gcc")
	source, program := filepath.Join(t.TempDir(), "reading.c"), filepath.Join(t.TempDir(), "reading")
	if err := os.WriteFile(source, []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "", cc, "-std=c99", "-Wall", "-Wextra", "-Werror", "-o", program, source)
	run(t, "", program)
}
