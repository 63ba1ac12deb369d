package hsmtest

import (
	_ "embed"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

//go:embed testdata/hostile.c
var hostile string

// Habit is SoftHSM with a bad habit.
type Habit struct {
	*Token
	counts string
}

// Hostile is a blank SoftHSM token behind a module with the habits that testdata/hostile.c lists: "SEGFAULT",
// "FROM=2". Honest is the same token behind SoftHSM itself.
func Hostile(t testing.TB, habits ...string) (bad *Habit, honest *Token) {
	t.Helper()
	Require(t, "gcc", "gcc libc6-dev")
	honest = Start(t)
	module := filepath.Join(honest.dir, "hostile.so")
	args := []string{"-shared", "-fPIC", "-fvisibility=hidden", "-Wall", "-O1", "-I", headers(t), "-DREAL=\"" + honest.Module + "\""}
	for _, h := range habits {
		if h != "" {
			args = append(args, "-D"+h)
		}
	}
	args = append(args, "-o", module, honest.write("hostile.c", hostile), "-ldl")
	if out, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	token := *honest
	token.Module = module
	token.Env = append([]string{"HOSTILE_DIR=" + token.dir}, honest.Env...)
	return &Habit{Token: &token, counts: token.dir}, honest
}

// headers is where the PKCS #11 headers below crypto11 are.
func headers(t testing.TB) string {
	t.Helper()
	cmd := exec.Command("go", "list", "-find", "-f", "{{.Dir}}", "github.com/miekg/pkcs11") // it is downloaded, if need be
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("find the headers: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// Count is how often something happened: "signatures", "logins", "wrong" PINs.
func (h *Habit) Count(what string) int {
	h.t.Helper()
	b, err := os.ReadFile(filepath.Join(h.counts, what))
	if err != nil || len(b) == 0 { // empty while the module writes it
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}
