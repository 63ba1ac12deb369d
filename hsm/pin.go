package hsm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/devid-agent/devid-agent/fault"
)

// secret is a PIN. It cannot be printed.
type secret []byte

// String hides it.
func (secret) String() string { return "[PIN]" }

// GoString hides it.
func (secret) GoString() string { return "[PIN]" }

// MarshalText hides it.
func (secret) MarshalText() ([]byte, error) { return []byte("[PIN]"), nil }

const longestPIN = 256

// readPIN returns the content of the file without the newline at its end.
func readPIN(path string) (secret, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, pinTrouble(path, plain(err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, pinTrouble(path, plain(err))
	}
	if !info.Mode().IsRegular() {
		return nil, pinTrouble(path, errors.New("not a regular file"))
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, fault.AskOperator(fmt.Errorf("pin file %s: everybody on this machine can open it (mode %v)", path, info.Mode().Perm()),
			"chmod o= "+path+", and change the PIN if strangers have accounts here")
	}
	b, err := io.ReadAll(io.LimitReader(f, longestPIN+3))
	if err != nil {
		return nil, pinTrouble(path, plain(err))
	}
	pin, err := checkPIN(b)
	if err != nil {
		return nil, pinTrouble(path, err)
	}
	return pin, nil
}

// checkPIN is the PIN in b, without the newline at its end.
func checkPIN(b []byte) (secret, error) {
	pin := bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
	if len(pin) == 0 || len(pin) > longestPIN || bytes.ContainsAny(pin, "\x00\n") {
		return nil, fault.As(fault.Operator, fmt.Errorf("a PIN is one line of 1 to %d bytes", longestPIN))
	}
	return secret(pin), nil
}

func pinTrouble(path string, err error) error {
	return fault.AskOperator(fmt.Errorf("pin file %s: %w", path, err),
		"put the token's user PIN on one line into "+path+", readable by the agent only (mode 0600)")
}

// plain is err without the path that it repeats.
func plain(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}
