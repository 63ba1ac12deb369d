//go:build cgo

package module

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/miekg/pkcs11"
	"golang.org/x/sys/unix"

	"github.com/devid-agent/devid-agent/hsm/wire"
)

// Run answers the agent on the inherited socket until it hangs up.
func Run() error {
	if kind, err := unix.GetsockoptInt(wire.Socket, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_STREAM {
		return fmt.Errorf("descriptor %d is not the agent's socket: this program is started by devid-agent, not by hand", wire.Socket)
	}
	unix.CloseOnExec(wire.Socket) // what the module starts is not to speak for us
	// Some modules keep what belongs to a session with the thread.
	runtime.LockOSThread()
	m := &Module{}
	defer m.Close()
	return wire.Serve(wire.Eager(os.NewFile(wire.Socket, "agent")), "devid-pkcs11", m)
}

// name is the standard's word for the code.
func name(code pkcs11.Error) string {
	_, word, _ := strings.Cut(strings.TrimPrefix(code.Error(), "pkcs11: "), ": ")
	if word == "" {
		return fmt.Sprintf("CKR 0x%X", uint(code))
	}
	return word
}
