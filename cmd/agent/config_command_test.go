package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestBadConfigurationEndsEveryCommandWith78(t *testing.T) {
	path := place(t, etc(t, "gateway-0042"), "agent.yaml", []byte(good+"log: {level: loud, colour: red}\n"), 0o644)
	for _, command := range []string{"config check", "run", "status"} {
		var out, errOut bytes.Buffer
		args := append(strings.Fields(command), "--config", path)
		if code := execute(t.Context(), args, &out, &errOut); code != 78 {
			t.Errorf("%s: exit code %d", command, code)
		}
		for _, want := range []string{path + ":5:14: log.level: ", path + ":5:20: log.colour: "} {
			if !strings.Contains(errOut.String(), want) {
				t.Errorf("%s does not say %q:\n%s", command, want, errOut.String())
			}
		}
	}
}

func TestConfigCheckSpeaksJSON(t *testing.T) {
	dir := etc(t, "gateway-0042")
	for text, want := range map[string]int{good: 0, good + "log: {level: loud, colour: red}\n": 78} {
		var out, errOut bytes.Buffer
		code := execute(t.Context(), []string{"config", "check", "--json", "--config", place(t, dir, "agent.yaml", []byte(text), 0o644)}, &out, &errOut)
		var said struct {
			OK       bool
			Problems []problem
		}
		if err := json.Unmarshal(out.Bytes(), &said); err != nil || code != want || said.OK != (want == 0) || (len(said.Problems) == 2) != (want == 78) {
			t.Errorf("exit code %d, %v: %s%s", code, err, out.String(), errOut.String())
		}
	}
}
