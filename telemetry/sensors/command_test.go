package sensors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

// sh is a command that a shell reads, as a test may.
func sh(script string) Command { return Command{Args: []string{"/bin/sh", "-c", script}} }

func TestCommandIsReadLineByLine(t *testing.T) {
	for script, want := range map[string]string{
		`echo '{"a": 1.50, "b": {"c": 12345678901234567890}}'`: `{"exit_status": 0, "a": 1.50, "b": {"c": 12345678901234567890}}`,
		`echo 'temp=21.5 on=true name="two words", n=-3'; echo '# nothing'; echo; echo '{"b": {"x": 1}}'; echo '{"b": {"y": 2}}'`://
		`{"exit_status": 0, "temp": 21.5, "on": true, "name": "two words", "n": -3, "b": {"x": 1, "y": 2}}`,
		`exit 2`:                           `{"exit_status": 2}`,
		`echo a=1; echo rubbish; echo b=2`: `{"exit_status": 0, "a": 1, "b": 2}`,
		`echo a=1; echo a=2`:               `{"exit_status": 0, "a": 2}`,
		`printf 'a=\377'`:                  `{"exit_status": 0, "a": "\ufffd"}`,
		`echo "$LC_ALL $HOME $NOTIFY_SOCKET" | sed 's/^/v="/;s/$/"/'; echo w=$(cat | wc -c) d=$(pwd)`: `{"exit_status": 0, "v": "C  ", "w": 0, "d": "/"}`,
	} {
		values, told := readSource(t, sh(script))
		same(t, values, want)
		for _, word := range []string{"rubbish", "exit 2", "a=2"} {
			if strings.Contains(script, word) && told == "<nil>" {
				t.Errorf("%s: nothing is told", script)
			}
		}
	}
}

func TestFault46FailureOfACommandSaysWhatItSaid(t *testing.T) {
	values, told := readSource(t, sh(`echo a=1; echo "no such register" >&2; exit 3`))
	same(t, values, `{"a": 1, "exit_status": 3}`)
	if !strings.Contains(told, "exit status 3") || !strings.Contains(told, "no such register") {
		t.Errorf("told %s", told)
	}
	_, err := Command{Args: []string{"/no/such/program"}}.Read(t.Context())
	if fault.Of(err) != fault.Operator || fault.Hint(err) == "" {
		t.Errorf("a program that is not there: %v", err)
	}
}

// alive reports whether a process that is no zombie has this number.
func alive(pid int) bool {
	task, err := (Machine{}).filled().task(strconv.Itoa(pid))
	return err == nil && task.state != "zombie"
}

func TestFault46CommandIsKilledWithItsChildrenAtTheDeadline(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pids")
	ctx, stop := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer stop()
	began := time.Now()
	values, err := sh(fmt.Sprintf(`echo a=1; trap '' TERM; sleep 600 & echo $! $$ >%s; sleep 600`, file)).Read(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > time.Minute || fmt.Sprint(values["a"]) != "1" {
		t.Errorf("%v after %v: %v", values, time.Since(began), err)
	}
	text, _ := os.ReadFile(file)
	pids := strings.Fields(string(text))
	if len(pids) != 2 {
		t.Fatalf("the command has not begun: %q", text)
	}
	for _, word := range pids {
		pid, _ := strconv.Atoi(word)
		for end := time.Now().Add(20 * time.Second); alive(pid); {
			if time.Now().After(end) {
				t.Fatalf("process %d has survived", pid)
			}
			_ = syscall.Kill(pid, 0)
		}
	}
}

func TestFault46CommandThatLeavesAProcessBehindHoldsNobodyUp(t *testing.T) {
	began := time.Now()
	values, told := readSource(t, sh(`sleep 600 & echo a=1`))
	if time.Since(began) > 30*time.Second || !strings.Contains(told, "left a process behind") {
		t.Errorf("after %v: %s", time.Since(began), told)
	}
	same(t, values, `{"a": 1, "exit_status": 0}`)
}

func TestFault46CommandThatFloodsIsKilled(t *testing.T) {
	values, told := readSource(t, sh(`echo a=1; exec yes`))
	if !strings.Contains(told, "more than 256 KB") || fmt.Sprint(values["a"]) != "1" || len(told) > 8192 {
		t.Errorf("told %d bytes: %.200s", len(told), told)
	}
}

func FuzzLines(f *testing.F) {
	for _, seed := range []string{
		`{"a":1}`, `{"a":1} x`, `{`, `a=1 b="x y" c=nan`, `a="`, `=1`, `a=1,b=2`, `a==b`,
		"\x00\x00", "\xff", `a=0x1p9`, `a=1_0`, `{"a":` + strings.Repeat("[", 50), "a=1e999", " \t, ",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, format := range []Format{Auto, Text} {
			if body := format.reading([]byte(s)); body != nil && (!json.Valid(body) || body[0] != '{') {
				t.Errorf("%s: %q becomes %q", format, s, body)
			}
		}
		parseLines(nothing(), s)
	})
}
