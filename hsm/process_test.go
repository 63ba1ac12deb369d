package hsm_test

import (
	"bytes"
	"fmt"
	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/hsm/hsmtest"
	"github.com/devid-agent/devid-agent/keys"
	"golang.org/x/sys/unix"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// group is the living processes of the group that leader leads.
func group(t *testing.T, leader int64) (members []int) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has just ended
		}
		pid, rest, _ := strings.Cut(string(b), " (")
		fields := strings.Fields(rest[strings.LastIndex(rest, ")")+1:]) // state ppid pgrp
		if fields[2] == strconv.FormatInt(leader, 10) && fields[0] != "Z" {
			n, err := strconv.Atoi(pid)
			if err != nil {
				t.Fatal(err)
			}
			members = append(members, n)
		}
	}
	return members
}

// wait until it is so, for a minute at most: a machine may have much else to do.
func wait(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if so() {
			return
		}
	}
	t.Fatalf("still not so after a minute: %s", what)
}

func TestAnIdleHelperIsGoneAndComesBack(t *testing.T) {
	token := hsmtest.Start(t)
	c := token.Config()
	c.Idle = 20 * time.Millisecond
	s := token.Open(t, c)
	key := create(t, s, "device-g1")
	for range 3 {
		wait(t, "the helper is gone", func() bool { return s.Health().PID == 0 })
		verify(t, key)
	}
	if h := s.Health(); h.Started < 4 || h.Helpers != 0 {
		t.Errorf("health %+v: an end for idleness is no healing", h)
	}
}

func TestOpeningAStoreStartsNothing(t *testing.T) {
	token := hsmtest.Start(t)
	if h := token.Open(t, token.Config()).Health(); h.Started != 0 {
		t.Errorf("health %+v", h)
	}
}

func TestAKilledHelperIsReplaced(t *testing.T) {
	token := hsmtest.Start(t)
	s := token.Open(t, token.Config())
	key := create(t, s, "device-g1")
	for range 3 {
		if err := syscall.Kill(int(s.Health().PID), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		verify(t, key)
	}
	if h := s.Health(); h.Helpers != 3 {
		t.Errorf("health %+v, want 3 new helpers", h)
	}
}

func TestTheHelperIsFenced(t *testing.T) {
	token := hsmtest.Start(t)
	s := token.Open(t, token.Config())
	if err := s.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	proc := fmt.Sprintf("/proc/%d/", s.Health().PID)
	status, err := os.ReadFile(proc + "status")
	if err != nil || !bytes.Contains(status, []byte("NoNewPrivs:\t1\n")) {
		t.Errorf("it can gain privileges: %v\n%s", err, status)
	}
	limits, err := os.ReadFile(proc + "limits")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Max core file size 0 0", "Max data size 536870912 536870912", "Max open files 256 256"} {
		if !strings.Contains(strings.Join(strings.Fields(string(limits)), " "), want) {
			t.Errorf("not %q in\n%s", want, limits)
		}
	}
}

// The agent is this test binary, started once more and killed, while its helper hangs in the module and hears nothing.
func TestAHelperDoesNotOutliveItsAgent(t *testing.T) {
	if os.Getenv("AGENT") != "" {
		live(t)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestAHelperDoesNotOutliveItsAgent$", "-test.v")
	cmd.Env = append(os.Environ(), "AGENT=1", "TMPDIR="+t.TempDir()) // it cannot tidy up
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	helper := heard(t, out)
	if len(group(t, helper)) == 0 {
		t.Fatalf("no helper %d", helper)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	wait(t, "the helper is gone", func() bool { return len(group(t, helper)) == 0 })
}

func live(t *testing.T) {
	s, bad := hostile(t, keys.ECDSAP256, "HANG")
	go func() { _, _ = s.Open(t.Context(), "device-g1") }()
	wait(t, "the helper hangs", func() bool { return bad.Count("signatures") == 1 })
	fmt.Printf("\nhelper %d\n", s.Health().PID)
	<-t.Context().Done() // until killed
}

func heard(t *testing.T, out interface{ Read([]byte) (int, error) }) int64 {
	t.Helper()
	var all []byte
	for b := make([]byte, 512); ; {
		n, err := out.Read(b)
		all = append(all, b[:n]...)
		if _, rest, found := strings.Cut(string(all), "\nhelper "); found {
			if pid, _, whole := strings.Cut(rest, "\n"); whole {
				n, err := strconv.ParseInt(pid, 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
		}
		if err != nil {
			t.Fatalf("the agent said only %q: %v", all, err)
		}
	}
}

func TestAHelperThatIsNotThereOrNotOursIsNamed(t *testing.T) {
	token := hsmtest.Start(t)
	for helper, words := range map[string]string{
		"/nowhere/devid-pkcs11": "no such file",
		script(t, `printf '\0\0\0\044{"version":99,"program":"devid-old"}' >&3; sleep 60`): "speaks version 99",
		script(t, `echo hello >&3`):                                "greeting",
		script(t, `echo 'libfoo.so.1: cannot open' >&2; exit 127`): "libfoo.so.1: cannot open",
	} {
		c := token.Config()
		c.Helper, c.Deadline = helper, 20*time.Second
		start := time.Now()
		wantWords(t, token.Open(t, c).Ping(t.Context()), words)
		if took := time.Since(start); took > c.Deadline {
			t.Errorf("%s: it took %v to see that", words, took)
		}
	}
}

func script(t *testing.T, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "devid-pkcs11")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestATokenThatWasPulledIsBackWhenItIsPutBack(t *testing.T) {
	token := hsmtest.Start(t)
	s := token.Open(t, token.Config())
	key := create(t, s, "device-g1")
	for verb, do := range map[string]func() error{
		"sign":   func() error { return sign(key) },
		"open":   func() error { return second(s.Open(t.Context(), "device-g1")) },
		"names":  func() error { return second(s.Names(t.Context())) },
		"delete": func() error { return s.Delete(t.Context(), "device-g1") },
		"create": func() error { return second(s.Create(t.Context(), "device-g2")) },
	} {
		token.Pull()
		for range 2 { // found out, and known
			err := do()
			wantWords(t, err, "the token is not there", "the module has")
			if fault.Of(err) != fault.Transient {
				t.Errorf("%s: %v is %v", verb, err, fault.Of(err))
			}
		}
		token.PutBack()
		verify(t, key)
		if names, err := s.Names(t.Context()); err != nil || len(names) != 1 {
			t.Errorf("%s: afterwards: %q, %v", verb, names, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// A helper is kept off our processor only while questions come in a row.
func TestALoneQuestionLeavesTheHelperToTheScheduler(t *testing.T) {
	token := hsmtest.Start(t)
	s := token.Open(t, token.Config())
	key := create(t, s, "device-g1")
	var all, now unix.CPUSet
	if err := unix.SchedGetaffinity(os.Getpid(), &all); err != nil {
		t.Fatal(err)
	}
	kept := func() bool {
		if err := unix.SchedGetaffinity(int(s.Health().PID), &now); err != nil {
			t.Fatal(err)
		}
		return now != all
	}
	wait(t, "the helper is kept aside in a burst", func() bool {
		for range 20 {
			verify(t, key)
		}
		return kept() || all.Count() == 1
	})
	time.Sleep(10 * time.Millisecond)
	if err := sign(key); err != nil {
		t.Fatal(err)
	}
	if kept() {
		t.Errorf("it may run on %v, of %v", now, all)
	}
}
