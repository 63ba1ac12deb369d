package tpm

import (
	"context"
	"encoding/binary"
	"slices"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// session is one operation's conversation with the TPM. It knows what it has loaded, and leaves nothing loaded.
type session struct {
	store   *Store
	wire         // ends with the operation's context
	parting wire // for flushes, which go out even when that context is gone
	managed bool // a resource manager stands between us and the chip
	swept   bool // forgotten objects were looked for
	loaded  []tpm2.TPMHandle
}

// wire sends one command and returns its answer, bound to a context: go-tpm's commands know of none.
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

// Send implements go-tpm's transport.
func (t *session) Send(command []byte) ([]byte, error) {
	answer, err := t.wire(command)
	if err == nil && isFull(codeOf(answer)) && !t.managed && !t.swept {
		t.sweep()
		answer, err = t.wire(command)
	}
	if err == nil && commandOf(command) == tpm2.TPMCCStartAuthSession && codeOf(answer) == tpm2.TPMRCSuccess && len(answer) >= header+4 {
		// go-tpm flushes it too, but not when its context is gone.
		t.loaded = append(t.loaded, tpm2.TPMHandle(binary.BigEndian.Uint32(answer[header:])))
	}
	return answer, err
}

// Send implements go-tpm's transport.
func (w wire) Send(command []byte) ([]byte, error) { return w(command) }

// What a TPM holds until it is told not to: objects and sessions (part 2, 7.2).
const transientObjects, loadedSessions tpm2.TPMHandle = 0x80000000, 0x02000000

// sweep flushes the objects and sessions of a TPM without a resource manager that are not ours. It is called after
// the TPM has been full for longer than any operation lasts: somebody died between a load and its flush.
func (t *session) sweep() {
	t.swept = true
	for _, kind := range []tpm2.TPMHandle{transientObjects, loadedSessions} {
		found, err := handles(t.parting, kind, 64)
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

// handles lists up to n handles of one kind, from first on.
func handles(w transport.TPM, first tpm2.TPMHandle, n uint32) ([]tpm2.TPMHandle, error) {
	answer, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: uint32(first), PropertyCount: n}.Execute(w)
	if err != nil {
		return nil, err
	}
	list, err := answer.CapabilityData.Data.Handles()
	if err != nil {
		return nil, err
	}
	return list.Handle, nil
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
	t.loaded = slices.DeleteFunc(t.loaded, func(l tpm2.TPMHandle) bool { return l == h })
}

// flushOne has no error: what cannot be flushed was lost with the TPM's power, goes with our file descriptor,
// or is swept.
func (t *session) flushOne(h tpm2.TPMHandle) {
	_, _ = tpm2.FlushContext{FlushHandle: h}.Execute(t.parting)
}

// password is h with the empty password.
func password(h tpm2.TPMHandle, name tpm2.TPM2BName) tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: h, Name: name, Auth: tpm2.PasswordAuth(nil)}
}

// memory is a loaded key as it was saved.
type memory struct {
	context tpm2.TPMSContext
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
	answer, err := tpm2.Load{ParentHandle: parent, InPublic: tpm2.New2B(b.public),
		InPrivate: tpm2.TPM2BPrivate{Buffer: b.private}}.Execute(t)
	if err == nil {
		t.loaded = append(t.loaded, answer.ObjectHandle)
	}
	t.flush(parent.Handle)
	if err != nil {
		return 0, nil, labelForeign("load the key", err, parent.Name.Buffer, recorded)
	}
	saved, err := tpm2.ContextSave{SaveHandle: answer.ObjectHandle}.Execute(t)
	if err != nil {
		return 0, nil, label("save the context of the key", err)
	}
	return answer.ObjectHandle, &memory{saved.Context, answer.Name, parent.Name}, nil
}

// recall loads a key from memory, which spares the way through the root key: 50 to 230 ms on a chip.
func (t *session) recall(m *memory) (tpm2.TPMHandle, error) {
	answer, err := tpm2.ContextLoad{Context: m.context}.Execute(t)
	if err != nil {
		return 0, err
	}
	t.loaded = append(t.loaded, answer.LoadedHandle)
	return answer.LoadedHandle, nil
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
