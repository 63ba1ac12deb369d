package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/devid-agent/devid-agent/examples/process"
	"github.com/devid-agent/devid-agent/examples/stage"
)

// commandSign is TPM2_Sign (TPM 2.0 Part 2, section 6.5.2).
const commandSign = 0x15d

// chip is a TPM 2.0 (swtpm) behind a socket that reads along: what the agent asks the TPM is counted by somebody else.
type chip struct {
	process *exec.Cmd
	socket  string // of the agent
	inner   string // of swtpm
	turn    sync.Mutex

	mu     sync.Mutex
	slow   time.Duration // what a signature takes longer than swtpm does
	signed []signature
}

// signature is one that the TPM made.
type signature struct {
	began time.Time
	took  time.Duration
}

func startChip(ctx context.Context, dir string) (c *chip, err error) {
	c = &chip{socket: filepath.Join(dir, "tpm.sock"), inner: filepath.Join(dir, "swtpm.sock")}
	if c.process, err = stage.StartTPM(ctx, filepath.Join(dir, "tpm"), c.inner); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", c.socket)
	if err != nil {
		return nil, err
	}
	go c.serve(l)
	return c, nil
}

func (c *chip) stop() { process.Kill(c.process) }

func (c *chip) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			for c.exchange(conn) == nil {
			}
		}()
	}
}

// exchange carries one command in and its answer out. swtpm serves one connection at a time, so each has its turn.
func (c *chip) exchange(conn net.Conn) error {
	command, err := readFrame(conn)
	if err != nil {
		return err
	}
	c.turn.Lock()
	defer c.turn.Unlock()
	began := time.Now()
	answer, err := c.ask(command)
	if err != nil {
		return err
	}
	if binary.BigEndian.Uint32(command[6:]) == commandSign {
		c.note(began)
	}
	_, err = conn.Write(answer)
	return err
}

func (c *chip) ask(command []byte) ([]byte, error) {
	inner, err := net.Dial("unix", c.inner)
	for errors.Is(err, syscall.EAGAIN) {
		time.Sleep(time.Millisecond)
		inner, err = net.Dial("unix", c.inner)
	}
	if err != nil {
		return nil, err
	}
	defer inner.Close()
	if _, err := inner.Write(command); err != nil {
		return nil, err
	}
	return readFrame(inner)
}

// note makes a signature as slow as it shall be, and counts it.
func (c *chip) note(began time.Time) {
	c.mu.Lock()
	slow := c.slow
	c.mu.Unlock()
	time.Sleep(slow)
	c.mu.Lock()
	c.signed = append(c.signed, signature{began, time.Since(began)})
	c.mu.Unlock()
}

// signatures is how many began at that time or after it, and what they took together.
func (c *chip) signatures(since time.Time) (n int, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.signed {
		if !s.began.Before(since) {
			n, took = n+1, took+s.took
		}
	}
	return n, took
}

// setSlow makes each signature from now on take d longer: chips take 25 to 200 ms, and swtpm one.
func (c *chip) setSlow(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slow = d
}

// readFrame reads a command or an answer: tag, size, and as much as the size says (TPM 2.0 Part 1, section 18).
func readFrame(r io.Reader) ([]byte, error) {
	head := make([]byte, 10)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[2:])
	if size < 10 || size > 1<<16 {
		return nil, fmt.Errorf("a TPM frame of %d bytes", size)
	}
	frame := append(head, make([]byte, size-10)...)
	_, err := io.ReadFull(r, frame[10:])
	return frame, err
}
