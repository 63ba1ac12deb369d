// Package process starts a program, and says what the kernel has counted for it.
package process

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

// Sample is what the kernel has counted for a process so far.
type Sample struct {
	At       time.Time
	CPU      time.Duration // all threads: schedstat, which counts nanoseconds and not ticks
	Switches int           // all threads: how often one went to sleep by itself, and so how often one was woken
	Written  int64         // bytes of pages that are to be written; the journal of the file system is not among them
	Steady   int64         // bytes of memory now,
	Peak     int64         // and at most
}

// Since is what was counted after before; memory is as it was at the end.
func (s Sample) Since(before Sample) Sample {
	s.CPU -= before.CPU
	s.Switches -= before.Switches
	s.Written -= before.Written
	return s
}

// Look reads it, proc(5).
func Look(pid int) (s Sample, err error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	tasks, err := filepath.Glob(filepath.Join(dir, "task", "*"))
	if err != nil || len(tasks) == 0 {
		return s, fmt.Errorf("process %d is not there", pid)
	}
	s.At = time.Now()
	for _, task := range tasks {
		s.Switches += int(Field(filepath.Join(task, "status"), "voluntary_ctxt_switches:"))
		if b, err := os.ReadFile(filepath.Join(task, "schedstat")); err == nil {
			running, _, _ := strings.Cut(string(b), " ")
			n, _ := strconv.ParseInt(running, 10, 64)
			s.CPU += time.Duration(n)
		}
	}
	s.Written = Field(filepath.Join(dir, "io"), "write_bytes:")
	s.Steady = Field(filepath.Join(dir, "status"), "VmRSS:") * 1024
	s.Peak = Field(filepath.Join(dir, "status"), "VmHWM:") * 1024
	return s, nil
}

// Field is the number behind name in file; 0 where there is none.
func Field(file, name string) int64 {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			var n int64
			_, _ = fmt.Sscan(rest, &n)
			return n
		}
	}
	return 0
}

// Spent is what a process that has ended has cost.
func Spent(state *os.ProcessState) (s Sample) {
	s.CPU = state.UserTime() + state.SystemTime()
	if usage, ok := state.SysUsage().(*syscall.Rusage); ok {
		s.Peak = usage.Maxrss * 1024
		s.Written = usage.Oublock * 512
	}
	return s
}

// Start starts a program that does not outlive us, and writes what it says to a file.
func Start(log string, environment []string, program string, args ...string) (*exec.Cmd, error) {
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

// Kill ends a process without asking it, where there is one.
func Kill(cmd *exec.Cmd) {
	if cmd != nil && cmd.Process != nil && cmd.ProcessState == nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// Lives reports whether a process has not ended; one that was not waited for is a zombie then.
func Lives(cmd *exec.Cmd) bool {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "stat"))
	if err != nil {
		return false
	}
	at := strings.LastIndexByte(string(b), ')')
	return at >= 0 && len(b) > at+2 && b[at+2] != 'Z'
}

// Tail is the end of a log, for when something went wrong.
func Tail(file string) string {
	b, _ := os.ReadFile(file)
	return string(b[max(0, len(b)-2000):])
}
