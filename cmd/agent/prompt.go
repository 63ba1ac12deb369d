package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

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

// askPIN asks for the PIN of a token, without showing it, and returns the path of a file in memory that holds it. Only
// this process can open the file, and it is gone with the process.
func askPIN(tty *os.File, token string) (path string, err error) {
	fmt.Fprintf(tty, "PIN of %s: ", token)
	pin, err := readHidden(tty)
	fmt.Fprintln(tty)
	if err != nil {
		return "", fmt.Errorf("ask for the PIN: %w", err)
	}
	fd, err := unix.MemfdCreate("pin", unix.MFD_CLOEXEC)
	if err != nil {
		return "", fmt.Errorf("ask for the PIN: %w", err)
	}
	if err := unix.Fchmod(fd, 0o600); err != nil {
		return "", fmt.Errorf("ask for the PIN: %w", err)
	}
	if _, err := unix.Write(fd, []byte(pin)); err != nil {
		return "", fmt.Errorf("ask for the PIN: %w", err)
	}
	return "/proc/self/fd/" + strconv.Itoa(fd), nil
}

// readHidden reads a line while the terminal does not echo.
func readHidden(tty *os.File) (string, error) {
	fd := int(tty.Fd())
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return "", err
	}
	hidden := *before
	hidden.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &hidden); err != nil {
		return "", err
	}
	defer func() { _ = unix.IoctlSetTermios(fd, unix.TCSETS, before) }()
	line, err := bufio.NewReader(tty).ReadString('\n')
	line = strings.TrimRight(line, "\r\n")
	if err == nil && line == "" {
		return "", errors.New("nothing was typed")
	}
	return line, err
}
