package tpm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"syscall"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

// socket is a software TPM that speaks the plain TPM protocol. It serves one connection at a time, so each
// command has its own: several programs then share it as they do a chip.
type socket struct {
	network, address string
	timeout          time.Duration
}

func (s *socket) managed() bool { return false }
func (s *socket) open() line    { return s }
func (s *socket) close()        {}

func (s *socket) exchange(ctx context.Context, command []byte) ([]byte, error) {
	answer, err := s.converse(ctx, command)
	if err == nil || fault.Stopped(err) {
		return answer, err
	}
	err = fmt.Errorf("software tpm at %s: %w", s.address, err)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fault.AskOperator(err, "let the user that runs devid-agent write to "+s.address)
	}
	return nil, fault.As(fault.Transient, err)
}

func (s *socket) converse(ctx context.Context, command []byte) ([]byte, error) {
	c, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	stop, err := watch(ctx, command, s.timeout, c.SetDeadline)
	if err != nil {
		return nil, err
	}
	defer stop()
	if _, err := c.Write(command); err != nil {
		return nil, err
	}
	return readAnswer(c)
}

// dial waits while others wait too: swtpm keeps a queue of one, and a Unix socket with a full queue says EAGAIN.
func (s *socket) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	var dialer net.Dialer
	for {
		c, err := dialer.DialContext(ctx, s.network, s.address)
		if !errors.Is(err, syscall.EAGAIN) {
			return c, err
		}
		if err := sleep(ctx, rand.N(firstWait)); err != nil {
			return nil, fmt.Errorf("queue for it: %w", err)
		}
	}
}
