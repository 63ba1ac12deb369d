package boot

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// need is the path of program, which the Debian package brings.
func need(t *testing.T, program, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skip("install " + pkg)
	}
	return path
}

// unitFile is the unit with a program that is there, and without the manual pages that are not.
func unitFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "devid-agent.service")
	text := regexp.MustCompile(`(?m)^Documentation=.*$`).ReplaceAllString(Systemd("/bin/true"), "")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// threshold is the most that is left open: systemd's own scale ends at 10, and what is usual is 9.
const threshold = 1.5

func TestTheUnitLeavesLittleOpen(t *testing.T) {
	out, err := exec.Command(need(t, "systemd-analyze", "systemd"), "security", "--offline=true", "--no-pager", unitFile(t)).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	found := regexp.MustCompile(`Overall exposure level for devid-agent.service: ([0-9.]+)`).FindSubmatch(out)
	if found == nil {
		t.Fatalf("no exposure level in: %s", out)
	}
	if level, err := strconv.ParseFloat(string(found[1]), 64); err != nil || level > threshold {
		t.Errorf("exposure %s, want at most %v:\n%s", found[1], threshold, out)
	}
}

func TestSystemdUnderstandsEveryLineOfTheUnit(t *testing.T) {
	// systemd-analyze ends with 0 also where it did not know a key: anything that it says of our unit is a mistake.
	out, _ := exec.Command(need(t, "systemd-analyze", "systemd"), "verify", "--man=no", unitFile(t)).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "devid-agent") {
			t.Error(line)
		}
	}
}

func TestSystemdUnderstandsEachDropIn(t *testing.T) {
	tokens, _ := filepath.Glob("../dropins/*.conf")
	sensors, _ := filepath.Glob("../dropins/sensors/*.conf")
	dropIns := append(tokens, sensors...)
	if len(tokens) == 0 || len(sensors) == 0 {
		t.Fatal("drop-ins are missing", dropIns)
	}
	for _, path := range dropIns {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		unit := unitFile(t)
		if err := os.Mkdir(unit+".d", 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(unit+".d", filepath.Base(path)), text, 0o600); err != nil {
			t.Fatal(err)
		}
		out, _ := exec.Command(need(t, "systemd-analyze", "systemd"), "verify", "--man=no", unit).CombinedOutput()
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "devid-agent") {
				t.Errorf("%s: %s", path, line)
			}
		}
	}
}

func TestTheUnitIsWhatTheAgentCountsOn(t *testing.T) {
	for _, line := range []string{
		"Type=notify", "Restart=on-failure", "RestartPreventExitStatus=78", "WatchdogSec=60", "LimitCORE=0", "User=devid-agent",
		"After=dev-tpmrm0.device", "DeviceAllow=/dev/tpmrm0 rw", "StateDirectory=devid-agent", "RuntimeDirectory=devid-agent",
	} {
		if !strings.Contains(Systemd(Program), "\n"+line+"\n") {
			t.Errorf("the unit does not say %s", line)
		}
	}
	for _, line := range []string{"Requires=dev-tpmrm0.device", "BindsTo=", "SupplementaryGroups=tss\n", "\nWants=dev-tpmrm0"} {
		if strings.Contains(Systemd(Program), "\n"+strings.TrimPrefix(line, "\n")) {
			t.Errorf("with %s the unit would not start, or wait in vain, on a machine without a TPM", line)
		}
	}
}

func TestEachSecretMayBePlainOrSealed(t *testing.T) {
	plain := regexp.MustCompile(`(?m)^LoadCredential=([a-z-]+):devid-agent\.([a-z-]+)$`).FindAllStringSubmatch(Systemd(Program), -1)
	if len(plain) == 0 {
		t.Fatal("the unit takes no secrets")
	}
	for _, p := range plain {
		// A path would be missed where it is not there, and a name is not (systemd.exec(5), LoadCredential=).
		if sealed := "LoadCredentialEncrypted=sealed-" + p[1] + ":devid-agent." + p[1] + "\n"; p[1] != p[2] || !strings.Contains(Systemd(Program), sealed) {
			t.Errorf("%s: want %s", p[0], sealed)
		}
	}
}

func TestTheScriptsAreShellsScriptsForAnyShell(t *testing.T) {
	for name, script := range map[string]string{"sysv": SysV(Program), "openrc": OpenRC(Program), "procd": Procd(Program)} {
		for _, shell := range [][]string{{need(t, "dash", "dash"), "-n"}, {need(t, "bash", "bash"), "--posix", "-n"}} {
			cmd := exec.Command(shell[0], shell[1:]...)
			cmd.Stdin = strings.NewReader(script)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %s: %v: %s", name, shell[0], err, out)
			}
		}
	}
}

func TestEachScriptStartsTheProgramThatItIsGiven(t *testing.T) {
	const path = "/opt/devid/devid-agent"
	for name, script := range map[string]string{
		"systemd": Systemd(path), "sysv": SysV(path), "openrc": OpenRC(path), "procd": Procd(path), "upstart": Upstart(path),
	} {
		if !strings.Contains(script, path) || strings.Contains(script, Program) {
			t.Errorf("%s does not start %s", name, path)
		}
		if !strings.Contains(script, Mark) {
			t.Errorf("%s does not say who put it there", name)
		}
		if strings.Contains(script, "{{") {
			t.Errorf("%s would be taken for a template", name)
		}
		if !strings.Contains(script, "GOMEMLIMIT") {
			t.Errorf("%s does not limit the agent's memory", name)
		}
	}
}

func TestEachCredentialThatTheConfigurationSuggestsIsTakenByTheUnit(t *testing.T) {
	text, err := os.ReadFile("../../examples/agent.yaml")
	if err != nil {
		t.Fatal(err)
	}
	suggested := regexp.MustCompile(`credential:([a-z-]+)`).FindAllStringSubmatch(string(text), -1)
	if len(suggested) == 0 {
		t.Fatal("agent.yaml suggests none")
	}
	page, err := os.ReadFile("../man/devid-agent.8")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range suggested {
		if !strings.Contains(Systemd(Program), "\nLoadCredential="+s[1]+":") {
			t.Errorf("agent.yaml suggests %s, and the unit does not take it", s[0])
		}
		if !strings.Contains(strings.ReplaceAll(string(page), `\-`, "-"), s[1]) {
			t.Errorf("agent.yaml suggests %s, and the manual page does not name it", s[0])
		}
	}
}
