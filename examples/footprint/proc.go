package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// sample is what the kernel has counted for a process so far.
type sample struct {
	at       time.Time
	cpu      time.Duration // all threads: schedstat, which counts nanoseconds and not ticks
	switches int           // all threads: how often one went to sleep by itself, and so how often one was woken
	written  int64         // bytes of pages that are to be written; the journal of the file system is not among them
	steady   int64         // bytes of memory now,
	peak     int64         // and at most
}

// look reads it, proc(5).
func look(pid int) (s sample, err error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	tasks, err := filepath.Glob(filepath.Join(dir, "task", "*"))
	if err != nil || len(tasks) == 0 {
		return s, fmt.Errorf("process %d is not there", pid)
	}
	s.at = time.Now()
	for _, task := range tasks {
		s.switches += int(field(filepath.Join(task, "status"), "voluntary_ctxt_switches:"))
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
