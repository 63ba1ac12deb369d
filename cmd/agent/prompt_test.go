package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// pseudoTerminal is the two ends of one: what a person holds, and what a program sees.
func pseudoTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

func TestThePINIsAskedForAndNotShown(t *testing.T) {
	person, program := pseudoTerminal(t)
	asked := make(chan []byte, 1)
	go func() {
		pin, err := askAt(program, "gateway")
		if err != nil {
			t.Error(err)
		}
		asked <- pin
	}()
	screen := bufio.NewReader(person)
	if prompt, err := screen.ReadString(':'); err != nil || prompt != "PIN of gateway:" {
		t.Fatalf("%q, %v", prompt, err)
	}
	fmt.Fprintln(person, "canary-4711")
	if pin := <-asked; string(pin) != "canary-4711" {
		t.Errorf("the PIN read is %q", pin)
	}
	fmt.Fprintln(program, "end")
	rest, err := screen.ReadString('d')
	if err != nil || strings.Contains(rest, "canary") {
		t.Errorf("the screen shows %q, %v", rest, err)
	}
}
