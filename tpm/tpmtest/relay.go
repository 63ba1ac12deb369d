package tpmtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// Any is every command.
const Any tpm2.TPMCC = 0

type rule struct {
	command tpm2.TPMCC
	pass    int // commands that still go through
	times   int // commands that are refused after them
	code    tpm2.TPMRC
}

// Slow makes each signature take d. 200 ms is the median of the chips in the field.
func (p *TPM) Slow(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slow = d
}

// Refuse lets the next pass commands of that code go through, and answers the times after them with answer
// instead of executing them.
func (p *TPM) Refuse(command tpm2.TPMCC, pass, times int, answer tpm2.TPMRC) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = append(p.rules, &rule{command, pass, times, answer})
}

// Alter shows f each answer, which it may change in place. Nil ends that.
func (p *TPM) Alter(f func(command tpm2.TPMCC, answer []byte)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.alter = f
}

// Watch shows f each command as it comes. Nil ends that.
func (p *TPM) Watch(f func(command []byte)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watch = f
}

// Count is how many commands of that code have come since the start.
func (p *TPM) Count(command tpm2.TPMCC) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts[command]
}

// serve relays connections until the test ends. Each client has a connection of its own to the chip, so that they
// wait for each other as they do without us.
func (p *TPM) serve() {
	p.t.Helper()
	l, err := net.Listen("unix", p.front())
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.relay(c)
		}
	}()
}

// Relayed sends as users of the TCTI do.
func (p *TPM) Relayed() transport.TPM { return relayed{p} }

type relayed struct{ *TPM }

func (r relayed) Send(command []byte) ([]byte, error) {
	c, err := net.Dial("unix", r.front())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return ask(c, command)
}

func (p *TPM) relay(client net.Conn) {
	defer client.Close()
	chip, err := dial(p.chip())
	if err != nil {
		return
	}
	defer chip.Close()
	for {
		command, err := read(client)
		if err != nil {
			return
		}
		answer, err := p.answer(chip, command)
		if err != nil {
			return
		}
		if _, err := client.Write(answer); err != nil {
			return
		}
	}
}

// dial waits for its place in the queue of swtpm, which has one.
func dial(path string) (net.Conn, error) {
	for {
		c, err := net.Dial("unix", path)
		if !errors.Is(err, syscall.EAGAIN) {
			return c, err
		}
		time.Sleep(time.Millisecond)
	}
}

func (p *TPM) answer(chip net.Conn, command []byte) ([]byte, error) {
	code, start := tpm2.TPMCC(binary.BigEndian.Uint32(command[6:])), time.Now()
	p.mu.Lock()
	watch := p.watch
	p.mu.Unlock()
	if watch != nil {
		watch(command)
	}
	if rc := p.refusal(code); rc != tpm2.TPMRCSuccess {
		return refuse(rc), nil
	}
	p.mu.Lock()
	slow, alter, salt := p.slow, p.alter, p.salt
	p.mu.Unlock()
	to := func(command []byte) ([]byte, error) { return ask(chip, command) }
	if salt != nil {
		to = salt.between(to)
	}
	answer, err := to(command)
	if err != nil {
		return nil, err
	}
	if alter != nil {
		alter(code, answer)
	}
	if code == tpm2.TPMCCSign {
		time.Sleep(slow - time.Since(start))
	}
	return answer, nil
}

func (p *TPM) refusal(command tpm2.TPMCC) tpm2.TPMRC {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts[command]++
	p.counts[Any]++
	for _, r := range p.rules {
		if r.command != Any && r.command != command {
			continue
		}
		if r.pass > 0 {
			r.pass--
		} else if r.times > 0 {
			r.times--
			return r.code
		}
	}
	return tpm2.TPMRCSuccess
}

func refuse(code tpm2.TPMRC) []byte {
	answer := binary.BigEndian.AppendUint16(nil, uint16(tpm2.TPMSTNoSessions))
	answer = binary.BigEndian.AppendUint32(answer, 10)
	return binary.BigEndian.AppendUint32(answer, uint32(code))
}

func ask(chip net.Conn, command []byte) ([]byte, error) {
	if _, err := chip.Write(command); err != nil {
		return nil, err
	}
	return read(chip)
}

// read reads one command or answer: tag, its whole size, code, the rest.
func read(c net.Conn) ([]byte, error) {
	head := make([]byte, 10)
	if _, err := io.ReadFull(c, head); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[2:])
	if size < 10 || size > 4096 {
		return nil, fmt.Errorf("size %d is not that of a TPM's command or answer", size)
	}
	whole := append(head, make([]byte, size-10)...)
	if _, err := io.ReadFull(c, whole[10:]); err != nil {
		return nil, errors.Join(errors.New("cut off"), err)
	}
	return whole, nil
}
