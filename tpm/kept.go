package tpm

import "github.com/google/go-tpm/tpm2"

// kept is what an operation leaves for the next one behind a resource manager: the open device, and on it the key
// that signed last. To a chip a signature then costs what it costs, where loading the key's context for each costs
// the kernel's resource manager four exchanges more. Without a resource manager nothing is kept: the chip has room
// for three objects, and we are not alone.
type kept struct {
	line   line
	key    *key
	handle tpm2.TPMHandle
	used   bool // by the operation under way
}

// line is the way to the TPM for one operation.
func (s *Store) line() line {
	s.kept.used = false
	if s.kept.line != nil {
		return s.kept.line
	}
	s.kept.key = nil
	return s.link.open()
}

// leave ends the operation. After an error the device is opened anew: an answer may still be on its way.
func (s *Store) leave(l line, well bool) {
	if well && s.link.managed() {
		s.kept.line = l
		return
	}
	l.close()
	s.kept = kept{}
}

// left returns where k was left loaded, and otherwise makes room for it.
func (t *session) left(k *key) (tpm2.TPMHandle, bool) {
	left := &t.store.kept
	if left.key == k {
		left.used = true
		return left.handle, true
	}
	if left.key != nil {
		t.flushOne(left.handle)
		left.key = nil
	}
	return 0, false
}

// keep leaves k loaded for the next operation, where that takes room from nobody.
func (t *session) keep(k *key, h tpm2.TPMHandle) {
	if !t.managed {
		return
	}
	t.store.kept.key, t.store.kept.handle = k, h
	t.forget(h)
}

// drop lets go of a key that nobody will use.
func (t *session) drop(k *key) {
	if left := &t.store.kept; left.key == k {
		t.flushOne(left.handle)
		left.key = nil
	}
	t.flushAll()
}
