package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// sample is what the kernel has counted for a process so far.
type sample struct {
	cpu     time.Duration // all threads: schedstat, which counts nanoseconds and not ticks
	written int64         // bytes of pages that are to be written; the journal of the file system is not among them
	steady  int64         // bytes of memory now,
	peak    int64         // and at most
}

// look reads it, proc(5).
func look(pid int) (s sample, err error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	tasks, err := filepath.Glob(filepath.Join(dir, "task", "*"))
	if err != nil || len(tasks) == 0 {
		return s, fmt.Errorf("process %d is not there", pid)
	}
	for _, task := range tasks {
		if b, err := os.ReadFile(filepath.Join(task, "schedstat")); err == nil {
			running, _, _ := strings.Cut(string(b), " ")
			n, _ := strconv.ParseInt(running, 10, 64)
			s.cpu += time.Duration(n)
		}
	}
	s.written = field(filepath.Join(dir, "io"), "write_bytes:")
	s.steady = field(filepath.Join(dir, "status"), "VmRSS:") * 1024
	s.peak = field(filepath.Join(dir, "status"), "VmHWM:") * 1024
	return s, nil
}

// field is the number behind name in file; 0 where there is none.
func field(file, name string) int64 {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n
		}
	}
	return 0
}

// spent is what a process that has ended has cost.
func spent(state *os.ProcessState) (s sample) {
	s.cpu = state.UserTime() + state.SystemTime()
	if usage, ok := state.SysUsage().(*syscall.Rusage); ok {
		s.peak = usage.Maxrss * 1024
		s.written = usage.Oublock * 512
	}
	return s
}

// background starts a program that does not outlive us, and writes what it says to a file.
func background(log string, environment []string, program string, args ...string) (*exec.Cmd, error) {
	out, err := os.OpenFile(log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), environment...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	return cmd, nil
}

// kill ends a process without asking it.
func kill(cmd *exec.Cmd) {
	if cmd != nil && cmd.Process != nil && cmd.ProcessState == nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// lives reports whether a process has not ended; one that was not waited for is a zombie then.
func lives(cmd *exec.Cmd) bool {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "stat"))
	if err != nil {
		return false
	}
	at := strings.LastIndexByte(string(b), ')')
	return at >= 0 && len(b) > at+2 && b[at+2] != 'Z'
}

// tail is the end of a log, for when something went wrong.
func tail(file string) string {
	b, _ := os.ReadFile(file)
	return string(b[max(0, len(b)-2000):])
}
