// Command board is what a person brings to an emulated gateway: the wire to its TPM, hands that do what the host says, the
// agent's log on a wire, and another program (a press) that gives the agent readings. It runs on the board, not on the host.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	jobs := map[string]func() error{"tpm": wireTPM, "hands": lendHands, "log": sendLog, "press": runPress}
	job := jobs[strings.Join(os.Args[1:], " ")]
	if job == nil {
		fmt.Fprintln(os.Stderr, "usage: board tpm|hands|log|press")
		os.Exit(2)
	}
	if err := job(); err != nil {
		fmt.Fprintln(os.Stderr, "board:", err)
		os.Exit(1)
	}
}

// openWire opens the serial port that the emulator calls name, and waits for it. It looks in sysfs, since udev may not have
// come yet.
func openWire(name string) (*os.File, error) {
	for {
		files, _ := filepath.Glob("/sys/class/virtio-ports/*/name")
		for _, file := range files {
			if b, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(b)) == name {
				return os.OpenFile("/dev/"+filepath.Base(filepath.Dir(file)), os.O_RDWR, 0)
			}
		}
		nap()
	}
}

func nap() { time.Sleep(50 * time.Millisecond) }
