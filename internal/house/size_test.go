package house

import (
	"slices"
	"testing"
)

// heavy are packages of the standard library that the agent is built without, with what each of them costs it on arm64.
var heavy = map[string]string{
	"regexp": "228 KB, mostly the tables of all scripts: compare by hand, as cmd/agent/config_form.go does, and let the test hold the pattern",
}

func TestTheAgentLinksNothingHeavy(t *testing.T) {
	imports := map[string][]string{}
	for _, p := range packages(t) {
		imports[p.ImportPath] = p.Imports
	}
	queue, seen := []string{module + "/cmd/agent"}, map[string]bool{}
	for len(queue) > 0 {
		path := queue[0]
		queue = queue[1:]
		if seen[path] {
			continue
		}
		seen[path] = true
		for name, cost := range heavy {
			if slices.Contains(imports[path], name) {
				t.Errorf("%s imports %s: %s", path, name, cost)
			}
		}
		queue = append(queue, imports[path]...)
	}
	if len(seen) < 50 {
		t.Errorf("only %d packages: this test looks at the wrong place", len(seen))
	}
}
