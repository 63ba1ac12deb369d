package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"

	"github.com/devid-agent/devid-agent/sim"
)

// maxSocketPath is what a socket's address holds on Linux, unix(7).
const maxSocketPath = 107

const controlOff = "off"

// openControl serves the control API where --control says: a socket that only its owner opens, or a port of loopback whose
// callers show the secret in DIR/control.secret.
func (o *options) openControl(ctx context.Context, cloud *sim.Cloud, diagnostics io.Writer) error {
	address := o.control
	if address == "" {
		address = o.file("control.sock")
		if len(address) > maxSocketPath {
			fmt.Fprintf(diagnostics, "devid-cloudsim: no control API: %s is too long for a socket; name another by --control\n", address)
			return nil
		}
	}
	switch {
	case address == controlOff:
		return nil
	case isSocket(address):
		return openSocket(ctx, cloud, address)
	}
	return o.openPort(ctx, cloud, address)
}

// isSocket tells the path of a socket from HOST:PORT.
func isSocket(address string) bool { return strings.Contains(address, "/") }

func openSocket(ctx context.Context, cloud *sim.Cloud, path string) error {
	if conn, err := net.Dial("unix", path); err == nil {
		conn.Close()
		return fmt.Errorf("control socket %s: another cloud runs there", path)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		if err := os.Remove(path); err != nil { // of a cloud that was killed
			return err
		}
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(err, l.Close())
	}
	cloud.Control(l, "")
	return nil
}

func (o *options) openPort(ctx context.Context, cloud *sim.Cloud, address string) error {
	host, _, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("control address %s is neither a path nor an address of loopback, as 127.0.0.1:4000", address)
	}
	secret, err := controlSecret(o.file("control.secret"))
	if err != nil {
		return err
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("control port: %w", err)
	}
	cloud.Control(l, secret)
	return nil
}

// controlSecret is the one in file, made where there is none.
func controlSecret(file string) (string, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		b = []byte(rand.Text() + "\n")
		err = os.WriteFile(file, b, 0o600)
	}
	secret := strings.TrimSpace(string(b))
	if err == nil && secret == "" {
		err = fmt.Errorf("%s is empty", file)
	}
	return secret, err
}
