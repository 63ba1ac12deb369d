package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// asked runs a script of health/ where devid-agent answers as given, and returns its exit code and what it did.
func asked(t *testing.T, script, answer string, code string) (int, string) {
	t.Helper()
	bin, did := t.TempDir(), filepath.Join(t.TempDir(), "did")
	health, err := filepath.Abs("health/devid-health")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("health/" + script)
	if err != nil {
		t.Fatal(err)
	}
	note := "#!/bin/sh\necho \"${0##*/} $*\" >>" + did + "\n"
	for name, content := range map[string]string{
		"devid-agent": "#!/bin/sh\ncat <<'END'\n" + answer + "\nEND\nexit " + code + "\n",
		"rauc":        note, "fw_setenv": note, "systemctl": note, "reboot": note,
		"fw_printenv": "#!/bin/sh\necho 1\n",
		"sleep":       "#!/bin/sh\nkill $PPID\n", // nobody waits a minute here
		"script":      string(text),
	} {
		// The scripts name the place where an image has the question.
		if name == "script" {
			content = strings.ReplaceAll(content, "/usr/libexec/devid/devid-health", health)
		}
		if err := os.WriteFile(filepath.Join(bin, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("sh", filepath.Join(bin, "script"))
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "DEVID_UNIT=", "DEVID_AS=sh -c")
	err = cmd.Run()
	done, _ := os.ReadFile(did)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), string(done)
	} else if err != nil {
		t.Fatal(err)
	}
	return 0, string(done)
}

// What check --json says.
const (
	well      = `{"ok": true, "checks": [{"name": "state", "ok": true, "detail": "ok"}, {"name": "hub", "ok": true, "detail": ""}]}`
	noNetwork = `{"ok": false, "checks": [{"name": "state", "ok": true, "detail": ""}, {"name": "hub", "ok": false, "detail": "no route"}]}`
	noKey     = `{"ok": false, "checks": [{"name": "key store", "ok": false, "detail": "no TPM"}, {"name": "hub", "ok": false, "detail": ""}]}`
	noMemory  = `{"ok": false, "checks": [{"name": "state", "ok": false, "detail": "on a tmpfs"}]}`
)

func TestASlotIsGoodOnlyWhenAllIsWellAndBadOnlyWhenARollbackHelps(t *testing.T) {
	for _, c := range []struct {
		answer, code string
		want         int
	}{{well, "0", 0}, {noNetwork, "1", 2}, {noKey, "1", 1}, {noMemory, "1", 1}, {"", "78", 1}, {"", "127", 1}} {
		if got, _ := asked(t, "devid-health", c.answer, c.code); got != c.want {
			t.Errorf("%s (%s): %d, want %d", c.answer, c.code, got, c.want)
		}
	}
}

func TestEachUpdaterIsToldInItsOwnWords(t *testing.T) {
	for _, c := range []struct {
		script, answer, code string
		exit                 int
		did                  string
	}{
		{"rauc-mark-good", well, "0", 0, "rauc status mark-good\n"},
		{"rauc-mark-good", noKey, "1", 0, "rauc status mark-bad\nsystemctl reboot\n"},
		{"rauc-mark-good", noNetwork, "1", -1, ""},
		{"ArtifactCommit_Enter_10_devid-agent", well, "0", 0, ""},
		{"ArtifactCommit_Enter_10_devid-agent", noKey, "1", 1, ""},
		{"ArtifactCommit_Enter_10_devid-agent", noNetwork, "1", 21, ""},
		{"swupdate-confirm", well, "0", 0, "fw_setenv upgrade_available 0\nfw_setenv bootcount 0\n"},
		{"swupdate-confirm", noKey, "1", 0, "reboot \n"},
		{"swupdate-confirm", noNetwork, "1", -1, ""},
	} {
		if exit, did := asked(t, c.script, c.answer, c.code); exit != c.exit || did != c.did {
			t.Errorf("%s on %s: ended with %d after %q; want %d after %q", c.script, c.answer, exit, did, c.exit, c.did)
		}
	}
}

func TestAnAgentThatIsStillStartingIsNotBad(t *testing.T) {
	for state, want := range map[string]int{"activating": 2, "failed": 1, "inactive": 1} {
		bin := t.TempDir()
		for name, content := range map[string]string{"systemctl": "#!/bin/sh\necho " + state + "\nexit 3\n", "systemd-run": "#!/bin/sh\nexit 0\n"} {
			if err := os.WriteFile(filepath.Join(bin, name), []byte(content), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command("sh", "health/devid-health")
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
		_ = cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got != want {
			t.Errorf("%s: %d, want %d", state, got, want)
		}
	}
}
