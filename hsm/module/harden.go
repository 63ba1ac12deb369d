package module

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// What a helper may use. A vendor's library that wants more leaks, and the agent starts a new helper.
const (
	mostMemory      = 512 << 20 // of RLIMIT_DATA; SoftHSM and tpm2-pkcs11 need less than 100 MB, the stacks of threads included
	mostDescriptors = 256
)

// Harden takes from this process what it does not need: it can gain no privileges, leaves no core file with a PIN in
// it, is not to be looked into, and is limited in memory and descriptors. It starts the program once more, since
// no_new_privs belongs to a thread and only the thread that calls exec hands it to all others.
func Harden() error {
	runtime.LockOSThread() // the one that answers is the one that the agent knows, and may keep off its own processor
	set, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	if err != nil {
		return fmt.Errorf("read no_new_privs: %w", err)
	}
	if set == 0 {
		return again()
	}
	for what, most := range map[int]uint64{unix.RLIMIT_CORE: 0, unix.RLIMIT_DATA: mostMemory, unix.RLIMIT_NOFILE: mostDescriptors} {
		if err := limit(what, most); err != nil {
			return err
		}
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("clear dumpable: %w", err)
	}
	return nil
}

func limit(what int, most uint64) error {
	var now unix.Rlimit
	if err := unix.Getrlimit(what, &now); err != nil {
		return fmt.Errorf("read limit %d: %w", what, err)
	}
	most = min(most, now.Max)
	if err := unix.Setrlimit(what, &unix.Rlimit{Cur: most, Max: most}); err != nil {
		return fmt.Errorf("set limit %d to %d: %w", what, most, err)
	}
	return nil
}

func again() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	err := unix.Exec("/proc/self/exe", os.Args, os.Environ())
	return fmt.Errorf("start again with no_new_privs: %w", err)
}
