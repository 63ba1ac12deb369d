package hsm

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// burst is how soon one question follows another when many come in a row, as in a key's trial or a row of handshakes.
const burst = time.Millisecond

// aside keeps a helper off our own processor while questions come in a row. Linux likes to wake whoever is asked on the
// processor of the asker, who is not asleep: it verifies the answer before. A lone question is left to the scheduler,
// which knows better which processor is free.
type aside struct {
	thread int         // of the helper, the one that answers
	all    unix.CPUSet // where it may run
	off    int         // the processor that it is kept off, -1 is none
	last   time.Time   // when it answered
}

func newAside(thread int) *aside {
	a := &aside{thread: thread, off: -1}
	_ = unix.SchedGetaffinity(thread, &a.all) // else none are known, and it is left where it is
	return a
}

// ask is called before each question. What the kernel refuses is no harm: it only takes longer.
func (a *aside) ask() {
	here := -1
	if time.Since(a.last) < burst {
		here = processor()
	}
	if here == a.off {
		return
	}
	rest := a.all
	if here >= 0 {
		rest.Clear(here)
	}
	if rest.Count() > 0 && unix.SchedSetaffinity(a.thread, &rest) == nil {
		a.off = here
	}
}

func (a *aside) answered() { a.last = time.Now() }

// processor is where we run at this moment, -1 where the kernel does not say (getcpu(2)).
func processor() int {
	var here uint32
	if _, _, errno := unix.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&here)), 0, 0); errno != 0 {
		return -1
	}
	return int(here)
}
