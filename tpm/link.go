package tpm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/google/go-tpm/tpm2"
)

// link is the way to a TPM.
type link interface {
	open() line    // for one operation; fails no earlier than its first exchange
	managed() bool // a resource manager keeps the objects of different programs apart
}

// line carries the commands of one operation.
type line interface {
	// exchange returns the answer to one command. A command that was sent is waited for, for grace when ctx is
	// gone: to hang up on a load would leave its object in the TPM.
	exchange(ctx context.Context, command []byte) ([]byte, error)
	close()
}

const (
	largest    = 4096 // of all answers, as the kernel's buffer has it too
	header     = 10   // tag, size, code
	grace      = 3 * time.Second
	makingKeys = 4 // times the timeout
)

const (
	patienceBusy = 30 * time.Second // a self test may take that long
	patienceFull = 3 * time.Second  // many times as long as another program's signature
	firstWait    = 10 * time.Millisecond
	longestWait  = time.Second
)

// insist sends the command again for as long as the TPM is only busy.
func insist(ctx context.Context, l line, command []byte) ([]byte, error) {
	for waited, wait := time.Duration(0), firstWait; ; wait = min(2*wait, longestWait) {
		answer, err := l.exchange(ctx, command)
		if err != nil || waited >= patience(codeOf(answer)) {
			return answer, err
		}
		// Two programs that wait for each other must not do so in step.
		pause := wait/2 + rand.N(wait/2)
		if err := sleep(ctx, pause); err != nil {
			return nil, fmt.Errorf("%w while the TPM was busy: %w", err, codeOf(answer))
		}
		waited += pause
	}
}

func patience(c tpm2.TPMRC) time.Duration {
	switch {
	case isBusy(c):
		return patienceBusy
	case isFull(c):
		return patienceFull
	}
	return 0
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// allowance is how long the TPM may take for the command.
func allowance(command []byte, timeout time.Duration) time.Duration {
	switch commandOf(command) {
	case tpm2.TPMCCCreate, tpm2.TPMCCCreatePrimary:
		return makingKeys * timeout
	}
	return timeout
}

// watch bounds what follows by the allowance of the command, and by grace once ctx is gone, until stop has returned: the
// line may carry the next command then.
func watch(ctx context.Context, command []byte, timeout time.Duration, deadline func(time.Time) error) (stop func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := deadline(time.Now().Add(allowance(command, timeout))); err != nil {
		return nil, err
	}
	hurried := make(chan struct{})
	calm := context.AfterFunc(ctx, func() {
		defer close(hurried)
		_ = deadline(time.Now().Add(grace))
	})
	return func() {
		if !calm() {
			<-hurried
		}
	}, nil
}

// readAnswer reads one answer, which says its own length.
func readAnswer(r io.Reader) ([]byte, error) {
	answer := make([]byte, largest)
	n := 0
	for n < header || n < size(answer) {
		m, err := r.Read(answer[n:])
		n += m
		if err != nil && (n < header || n < size(answer)) {
			return nil, fmt.Errorf("answer ends after %d bytes: %w", n, err)
		}
		if n >= header && (size(answer) > largest || size(answer) < header) {
			return nil, fmt.Errorf("answer says that it has %d bytes", size(answer))
		}
	}
	if n != size(answer) {
		return nil, errors.New("more bytes than the answer says that it has")
	}
	return answer[:n], nil
}

func size(answer []byte) int { return int(binary.BigEndian.Uint32(answer[2:])) }
