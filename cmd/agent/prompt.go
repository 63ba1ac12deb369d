package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// terminal is where a person sits, nil where nobody does.
func terminal() *os.File {
	if _, err := unix.IoctlGetTermios(int(os.Stdin.Fd()), unix.TCGETS); err != nil {
		return nil
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	return tty
}

// asker asks a person for the PIN of a token; nil where nobody sits at a terminal.
func asker() func(token string) ([]byte, error) {
	tty := terminal()
	if tty == nil {
		return nil
	}
	_ = tty.Close() // it is opened again when there is something to ask
	return func(token string) ([]byte, error) {
		tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		defer tty.Close()
		return askAt(tty, token)
	}
}

// askAt asks at tty, without showing what is typed.
func askAt(tty *os.File, token string) ([]byte, error) {
	fd := int(tty.Fd())
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, err
	}
	hidden := *before
	hidden.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &hidden); err != nil {
		return nil, err
	}
	defer func() { _ = unix.IoctlSetTermios(fd, unix.TCSETS, before) }()
	fmt.Fprintf(tty, "PIN of %s: ", token) // now that nothing is shown: some are quick
	defer fmt.Fprintln(tty)
	line, err := bufio.NewReader(tty).ReadBytes('\n')
	line = bytes.TrimRight(line, "\r\n")
	if err == nil && len(line) == 0 {
		return nil, errors.New("nothing was typed")
	}
	return line, err
}
