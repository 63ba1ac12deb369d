package spool

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

// lifeDir makes the process of this test one of the lives that are killed: it says what it was promised, and what it is about
// to acknowledge.
const lifeDir = "SPOOL_LIFE"

func live(t *testing.T, dir string) {
	s := open(t, dir, Limits{MaxBytes: 1 << 20, SegmentBytes: 16 << 10, Drop: Refuse}, nil)
	for i := 0; ; i++ {
		seq, err := s.Append(t.Context(), "s", fmt.Appendf(nil, "%d of %d", i, os.Getpid()))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("promised %d %d of %d\n", seq, i, os.Getpid())
		if got := s.Peek(40); len(got) == 40 {
			fmt.Printf("acknowledged %d\n", got[19].Seq)
			if err := s.Ack(got[19].Seq); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestFault49AProcessThatIsKilledAgainAndAgainKeepsEveryPromise(t *testing.T) {
	if dir := os.Getenv(lifeDir); dir != "" {
		live(t, dir)
	}
	dir := t.TempDir()
	promised, acked := map[uint64]string{}, uint64(0)
	for life := range 20 {
		before := len(promised)
		var stop time.Time
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFault49AProcess")
		cmd.Env = append(os.Environ(), lifeDir+"="+dir)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var seq uint64
			var i, pid int
			if n, _ := fmt.Sscanf(lines.Text(), "promised %d %d of %d", &seq, &i, &pid); n == 3 {
				promised[seq] = fmt.Sprintf("%d of %d", i, pid)
			} else if n, _ := fmt.Sscanf(lines.Text(), "acknowledged %d", &seq); n == 1 {
				acked = max(acked, seq)
			}
			if stop.IsZero() {
				stop = time.Now().Add(rand.N(100 * time.Millisecond))
			}
			if time.Now().After(stop) {
				_ = cmd.Process.Kill()
			}
		}
		_ = cmd.Wait()
		if len(promised) == before {
			t.Fatalf("life %d made no progress", life)
		}
	}
	s := open(t, dir, Limits{}, nil)
	waiting := map[uint64]string{}
	for _, r := range s.Peek(1 << 20) {
		waiting[r.Seq] = string(r.Body)
	}
	for seq, body := range promised {
		if got, there := waiting[seq]; seq > acked && !there || there && got != body {
			t.Errorf("reading %d is %q, promised was %q", seq, got, body)
		}
	}
	if st := s.Stats(); st.Damaged != 0 || st.Dropped != 0 {
		t.Errorf("%+v", st)
	}
}

func TestFault33WithoutInodesNothingIsLostAndNothingStops(t *testing.T) {
	for _, drop := range []Drop{Refuse, DropOldest} {
		dir, ok := disk(t, "size=4m,nr_inodes=6")
		if !ok {
			return
		}
		s := open(t, filepath.Join(dir, "spool"), Limits{SegmentBytes: page, Drop: drop}, nil)
		promised, refused := 0, 0
		for i := 1; i <= 600; i++ {
			switch _, err := s.Append(t.Context(), "s", body(promised+1)); {
			case err == nil:
				promised++
			case errors.Is(err, syscall.ENOSPC) && fault.Of(err) == fault.Operator:
				refused++
			default:
				t.Fatal(err)
			}
		}
		st := s.Stats()
		if (drop == Refuse) != (refused > 0 && st.Dropped == 0) || int(st.Dropped+st.Depth) != promised || st.Refused != uint64(refused) {
			t.Errorf("drop %v: %d promised, %d refused: %+v", drop, promised, refused, st)
		}
		want(t, s, int(st.Dropped)+1, promised)
		if err := s.Ack(uint64(promised)); err != nil {
			t.Fatal(err)
		}
		add(t, s, promised+1, promised+50)
		want(t, open(t, s.dir, s.limits, nil), promised+1, promised+50)
	}
}

func TestFault33WithoutFileDescriptorsAnAppendIsRefusedAndGoesOnLater(t *testing.T) {
	s := open(t, t.TempDir(), Limits{SegmentBytes: page}, nil)
	add(t, s, 1, 10)
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 0, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	last, err := 10, error(nil)
	for err == nil && last < 1000 {
		if _, err = s.Append(t.Context(), "s", body(last+1)); err == nil {
			last++
		}
	}
	if e := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was); e != nil {
		t.Fatal(e)
	}
	if !errors.Is(err, syscall.EMFILE) {
		t.Errorf("after %d readings: %v", last, err)
	}
	add(t, s, last+1, last+20)
	waitAfterReopen(t, s, 1, last+20)
}

func TestFault50ABacklogLivesOnTheDiskAndNotInMemory(t *testing.T) {
	dir := memory(t)
	s := open(t, dir, Limits{MaxBytes: 128 << 20}, nil)
	rs := make([]Reading, 1000)
	for i := range rs {
		rs[i] = Reading{Stream: "s", Body: payload}
	}
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	const most = 4 << 20
	before := heap()
	for range 200 {
		if _, err := s.Put(t.Context(), rs...); err != nil {
			t.Fatal(err)
		}
	}
	if grown := heap() - before; grown > most {
		t.Errorf("%d bytes of the heap hold a backlog of %d", grown, s.Stats().Bytes)
	}
	for sent := uint64(0); sent < 200_000; {
		got := s.After(sent, 64, 64<<10)
		sent = got[len(got)-1].Seq
		if sent%20_000 < 64 {
			if grown := heap() - before; grown > most {
				t.Fatalf("%d bytes of the heap after %d readings", grown, sent)
			}
		}
	}
}
