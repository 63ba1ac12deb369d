package tpm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/keys"
)

// session is one operation's conversation with the TPM. It knows what it has loaded, and leaves nothing loaded.
type session struct {
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
	line := s.link.open()
	defer line.close()
	t := &session{managed: s.link.managed(),
		wire:    func(c []byte) ([]byte, error) { return insist(ctx, line, c) },
		parting: func(c []byte) ([]byte, error) { return insist(context.WithoutCancel(ctx), line, c) }}
	defer t.flushAll()
	return do(t)
}

// Send implements go-tpm's transport.
func (t *session) Send(command []byte) ([]byte, error) {
	answer, err := t.wire(command)
	if err == nil && isFull(codeOf(answer)) && !t.managed && !t.swept {
		t.sweep()
		return t.wire(command)
	}
	return answer, err
}

// Send implements go-tpm's transport.
func (w wire) Send(command []byte) ([]byte, error) { return w(command) }

// sweep flushes the transient objects of a TPM without a resource manager that are not ours. It is called after
// the TPM has been full for longer than any operation lasts: somebody died between a load and its flush.
func (t *session) sweep() {
	t.swept = true
	handles, err := transient(t.parting)
	if err != nil {
		return // the command that found the TPM full says it again
	}
	for _, h := range handles {
		if !slices.Contains(t.loaded, h) {
			t.flushOne(h)
		}
	}
}

func transient(w wire) ([]tpm2.TPMHandle, error) {
	answer, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: 0x80000000, PropertyCount: 64}.Execute(w)
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

// flush lets go of h before the operation ends: chips have room for three objects.
func (t *session) flush(h tpm2.TPMHandle) {
	t.flushOne(h)
	t.loaded = slices.DeleteFunc(t.loaded, func(l tpm2.TPMHandle) bool { return l == h })
}

// flushOne has no error: what cannot be flushed was lost with the TPM's power, goes with our file descriptor,
// or is swept.
func (t *session) flushOne(h tpm2.TPMHandle) {
	_, _ = tpm2.FlushContext{FlushHandle: h}.Execute(t.parting)
}

// parent returns the handle of what the blob was made under.
func (t *session) parent(h tpm2.TPMHandle) (tpm2.AuthHandle, error) {
	if h != tpm2.TPMRHOwner {
		answer, err := tpm2.ReadPublic{ObjectHandle: h}.Execute(t)
		if err != nil {
			return tpm2.AuthHandle{}, label(fmt.Sprintf("read the parent %#x", uint32(h)), err)
		}
		return password(h, answer.Name), nil
	}
	answer, err := tpm2.CreatePrimary{PrimaryHandle: password(tpm2.TPMRHOwner, tpm2.HandleName(tpm2.TPMRHOwner)),
		InPublic: tpm2.New2B(storageRootKey())}.Execute(t)
	if err != nil {
		return tpm2.AuthHandle{}, label("derive the storage root key", err)
	}
	t.loaded = append(t.loaded, answer.ObjectHandle)
	return password(answer.ObjectHandle, answer.Name), nil
}

// password is h with the empty password.
func password(h tpm2.TPMHandle, name tpm2.TPM2BName) tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: h, Name: name, Auth: tpm2.PasswordAuth(nil)}
}

// make has the TPM make a key. Nothing of it stays in the TPM.
func (t *session) make(a keys.Algorithm) (blob, error) {
	if err := t.capable(a); err != nil {
		return blob{}, err
	}
	root, err := t.parent(tpm2.TPMRHOwner)
	if err != nil {
		return blob{}, err
	}
	defer t.flush(root.Handle)
	answer, err := tpm2.Create{ParentHandle: root, InPublic: tpm2.New2B(template(a))}.Execute(t)
	if err != nil {
		return blob{}, labelUnable(a, "make the key", err)
	}
	return newBlob(tpm2.TPMRHOwner, answer.OutPublic, answer.OutPrivate)
}

// capable asks before, because an unable TPM answers TPM2_Create with codes that may mean other things too.
func (t *session) capable(a keys.Algorithm) error {
	_, err := tpm2.TestParms{Parameters: parameters(a)}.Execute(t)
	if errors.Is(err, tpm2.TPMRCCommandCode) {
		return nil // a chip that cannot tell; TPM2_Create will
	}
	return labelUnable(a, "ask for "+string(a), err)
}

// memory is a loaded key as it was saved.
type memory struct {
	context tpm2.TPMSContext
	name    tpm2.TPM2BName
}

// restore loads the blob, and returns its handle and the memory from which it is loaded faster the next time.
func (t *session) restore(b blob) (tpm2.AuthHandle, *memory, error) {
	parent, err := t.parent(b.parent)
	if err != nil {
		return tpm2.AuthHandle{}, nil, err
	}
	answer, err := tpm2.Load{ParentHandle: parent, InPublic: tpm2.New2B(b.public),
		InPrivate: tpm2.TPM2BPrivate{Buffer: b.private}}.Execute(t)
	if err == nil {
		t.loaded = append(t.loaded, answer.ObjectHandle)
	}
	if b.parent == tpm2.TPMRHOwner {
		t.flush(parent.Handle)
	}
	if err != nil {
		return tpm2.AuthHandle{}, nil, labelForeign("load the key", err)
	}
	saved, err := tpm2.ContextSave{SaveHandle: answer.ObjectHandle}.Execute(t)
	if err != nil {
		return tpm2.AuthHandle{}, nil, label("save the context of the key", err)
	}
	return password(answer.ObjectHandle, answer.Name), &memory{saved.Context, answer.Name}, nil
}

// recall loads a key from memory, which spares the way through the root key: 50 to 230 ms on a chip.
func (t *session) recall(m *memory) (tpm2.AuthHandle, error) {
	answer, err := tpm2.ContextLoad{Context: m.context}.Execute(t)
	if err != nil {
		return tpm2.AuthHandle{}, err
	}
	t.loaded = append(t.loaded, answer.LoadedHandle)
	return password(answer.LoadedHandle, m.name), nil
}

// codeOf is the response code in the header of an answer.
func codeOf(answer []byte) tpm2.TPMRC {
	if len(answer) < 10 {
		return tpm2.TPMRCSuccess
	}
	return tpm2.TPMRC(binary.BigEndian.Uint32(answer[6:]))
}
