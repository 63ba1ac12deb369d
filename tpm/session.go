package tpm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"
)

// session is one operation's conversation with the TPM. It knows what it has loaded, and leaves nothing loaded.
type session struct {
	store   *Store
	wire    wire // ends with the operation's context
	parting wire // for flushes, which go out even when that context is gone
	managed bool // a resource manager stands between us and the chip
	swept   bool // forgotten objects were looked for
	loaded  []tpm2.TPMHandle
}

// wire sends one command and returns its answer, bound to the context of an operation.
type wire func(command []byte) ([]byte, error)

// operate runs do while nobody else of this store speaks to the TPM.
func (s *Store) operate(ctx context.Context, do func(*session) error) error {
	if err := s.take(ctx); err != nil {
		return err
	}
	defer s.release()
	line := s.line()
	t := &session{store: s, managed: s.link.managed(),
		wire:    func(c []byte) ([]byte, error) { return insist(ctx, line, c) },
		parting: func(c []byte) ([]byte, error) { return insist(context.WithoutCancel(ctx), line, c) }}
	err := t.untilWhen(do(t))
	t.flushAll()
	s.leave(line, err == nil && ctx.Err() == nil)
	return err
}

// take waits for the turn to speak to the TPM.
func (s *Store) take(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-s.turn:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the TPM: %w", ctx.Err())
	}
}

func (s *Store) release() { s.turn <- struct{}{} }

// run sends one command. The first of its objects are those that are opened for it.
func (t *session) run(code tpm2.TPMCC, on []object, parameters ...[]byte) (*answer, error) {
	return t.send(command{code: code, on: on, parameters: parameters})
}

func (t *session) send(c command) (*answer, error) {
	a, err := c.send(t.exchange)
	if a != nil && a.handle != 0 {
		t.loaded = append(t.loaded, a.handle) // also where the rest of the answer is no good
	}
	_, refused := errors.AsType[tpm2.TPMRC](err)
	for _, o := range c.openers() {
		switch {
		case o.session == tpm2.TPMRSPW:
		case err == nil:
			t.forget(o.session) // it ended with the command
		case refused:
			t.flush(o.session)
		}
	}
	return a, err
}

func (t *session) exchange(command []byte) ([]byte, error) {
	answer, err := t.wire(command)
	if err == nil && isFull(codeOf(answer)) && !t.managed && !t.swept {
		t.sweep()
		answer, err = t.wire(command)
	}
	return answer, err
}

// What a TPM holds until it is told not to: objects and sessions (part 2, 7.2).
const transientObjects, loadedSessions tpm2.TPMHandle = 0x80000000, 0x02000000

// sweep flushes the objects and sessions of a TPM without a resource manager that are not ours. It is called after
// the TPM has been full for longer than any operation lasts: somebody died between a load and its flush.
func (t *session) sweep() {
	t.swept = true
	for _, kind := range []tpm2.TPMHandle{transientObjects, loadedSessions} {
		found, _, err := handles(t.parting, kind, 64)
		if err != nil {
			return // the command that found the TPM full says it again
		}
		for _, h := range found {
			if !slices.Contains(t.loaded, h) {
				t.flushOne(h)
			}
		}
	}
}

// handles lists up to n handles of one kind, from first on; more says that there are others after them.
func handles(w wire, first tpm2.TPMHandle, n int) (list []tpm2.TPMHandle, more bool, err error) {
	found, more, err := capability(w, tpm2.TPMCapHandles, uint32(first), n)
	if err != nil {
		return nil, false, err
	}
	list = make([]tpm2.TPMHandle, found.uint32()%largest)
	for i := range list {
		list[i] = tpm2.TPMHandle(found.uint32())
	}
	return list, more, found.whole()
}

// capability asks for up to n values of a kind, from first on. What is read next is their number; more says that
// there are others after them.
func capability(w wire, kind tpm2.TPMCap, first uint32, n int) (a *answer, more bool, err error) {
	a, err = command{code: tpm2.TPMCCGetCapability, parameters: [][]byte{u32(kind), u32(first), u32(n)}}.send(w)
	if err != nil {
		return nil, false, err
	}
	more = a.take(1)[0] != 0
	if a.uint32() != uint32(kind) {
		a.short = true
	}
	return a, more, a.whole()
}

func (t *session) flushAll() {
	for _, h := range slices.Backward(t.loaded) {
		t.flushOne(h)
	}
	t.loaded = nil
}

// flush lets go of h before the operation ends: chips have room for three objects. What the TPM itself keeps stays.
func (t *session) flush(h tpm2.TPMHandle) {
	if h>>24 == persistent {
		return
	}
	t.flushOne(h)
	t.forget(h)
}

// forget leaves h to itself.
func (t *session) forget(h tpm2.TPMHandle) {
	t.loaded = slices.DeleteFunc(t.loaded, func(l tpm2.TPMHandle) bool { return l == h })
}

// flushOne has no error: what cannot be flushed was lost with the TPM's power, goes with our file descriptor,
// or is swept.
func (t *session) flushOne(h tpm2.TPMHandle) {
	_, _ = command{code: tpm2.TPMCCFlushContext, parameters: [][]byte{u32(h)}}.send(t.parting)
}

// memory is a loaded key as it was saved.
type memory struct {
	context []byte // TPMS_CONTEXT
	name    tpm2.TPM2BName
	parent  tpm2.TPM2BName
}

// restore loads the blob, and returns its handle and the memory from which it is loaded faster the next time.
// Recorded is the Name of its parent, where we know it.
func (t *session) restore(b blob, recorded []byte) (tpm2.TPMHandle, *memory, error) {
	parent, err := t.parent(b, recorded)
	if err != nil {
		return 0, nil, err
	}
	child, err := t.loadUnder(parent, tpm2.Marshal(b.public), b.private)
	t.flush(parent.handle)
	if err != nil {
		return 0, nil, labelForeign("load the key", err, parent.name.Buffer, recorded)
	}
	saved, err := t.run(tpm2.TPMCCContextSave, []object{bare(child.handle)})
	if err != nil {
		return 0, nil, label("save the context of the key", err)
	}
	return child.handle, &memory{saved.rest, child.name, parent.name}, nil
}

// recall loads a key from its context, which spares the way through the root key: 50 to 230 ms on a chip.
func (t *session) recall(context []byte) (tpm2.TPMHandle, error) {
	a, err := t.run(tpm2.TPMCCContextLoad, nil, context)
	if err != nil {
		return 0, err
	}
	return a.handle, nil
}

// loadUnder loads a TPMT_PUBLIC and the content of its TPM2B_PRIVATE. The session flushes it.
func (t *session) loadUnder(parent object, public, private []byte) (object, error) {
	a, err := t.run(tpm2.TPMCCLoad, []object{parent}, sized(private), sized(public))
	if err != nil {
		return object{}, err
	}
	return password(a.handle, a.name()), a.whole()
}

// readPublic asks the TPM what lies at h.
func (t *session) readPublic(h tpm2.TPMHandle) (tpm2.TPMTPublic, tpm2.TPM2BName, error) {
	a, err := t.run(tpm2.TPMCCReadPublic, []object{bare(h)})
	if err != nil {
		return tpm2.TPMTPublic{}, tpm2.TPM2BName{}, err
	}
	public, err := a.public()
	return public, a.name(), errors.Join(err, a.whole())
}

// primary derives the primary key of the template. The session flushes it.
func (t *session) primary(of object, template tpm2.TPMTPublic) (object, tpm2.TPMTPublic, error) {
	a, err := t.run(tpm2.TPMCCCreatePrimary, []object{of}, sized(slices.Concat(sized(nil), sized(nil))), sized(tpm2.Marshal(template)),
		sized(nil), u32(0)) // no password, no data of its own, no data from outside, no PCRs
	if err != nil {
		return object{}, tpm2.TPMTPublic{}, err
	}
	public, err := a.public()
	a.sized() // creationData, creationHash, and creationTicket with its tag and hierarchy
	a.sized()
	a.take(6)
	a.sized()
	return password(a.handle, a.name()), public, errors.Join(err, a.whole())
}

// codeOf is the response code in the header of an answer.
func codeOf(answer []byte) tpm2.TPMRC {
	if len(answer) < 10 {
		return tpm2.TPMRCSuccess
	}
	return tpm2.TPMRC(binary.BigEndian.Uint32(answer[6:]))
}

// commandOf is the command code in the header of a command.
func commandOf(command []byte) tpm2.TPMCC {
	if len(command) < header {
		return 0
	}
	return tpm2.TPMCC(binary.BigEndian.Uint32(command[6:]))
}
