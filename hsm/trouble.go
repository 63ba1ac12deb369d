package hsm

import (
	"fmt"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/hsm/wire"
	"github.com/devid-agent/devid-agent/keys"
)

// trouble is why a question got no answer, and what may be done about it.
type trouble struct {
	err    error
	rung   rung // the lowest that may help
	kind   fault.Kind
	hint   string
	absent bool // there is no such key, if the token can be believed
	judged bool // it is the module's own answer: the call came to an end
	code   uint64
}

// final is trouble that no rung helps against.
func final(err error) *trouble {
	if err == nil {
		return nil
	}
	return &trouble{err: err, kind: fault.Of(err), hint: fault.Hint(err)}
}

// lie is trouble with a module that answers, and not the truth.
func lie(err error) *trouble {
	return &trouble{err: fmt.Errorf("the module lies: %w", err), rung: helpers, hint: hintModule}
}

// troubleOf is what the helper answered to a question.
func troubleOf(op wire.Op, f *wire.Fault) *trouble {
	if f == nil {
		return nil
	}
	m, what := meaningOf(f.Code), f.Doing
	if f.Reason != wire.Returned {
		m = reasons[f.Reason]
	}
	t := &trouble{rung: m.rung, kind: m.kind, hint: m.hint, judged: true, code: f.Code}
	switch f.Reason {
	case wire.NoKey:
		t.err, t.absent = keys.ErrNotFound, true
	case wire.TakenKey:
		t.err = keys.ErrExists
	case wire.Returned:
		t.err = fmt.Errorf("%s: %s", what, m.word)
	default:
		t.err = fmt.Errorf("%s: %s", m.word, what)
	}
	if f.Reason == wire.Returned {
		t.unable(op, f.Code)
	}
	return t
}

// unable finds the words for a token that does not let programs make or destroy keys.
func (t *trouble) unable(op wire.Op, code uint64) {
	cannot := code == functionNotSupported || t.hint == hintSame
	switch {
	case op == wire.Create && cannot:
		t.err = fmt.Errorf("this token lets no program make keys: %w", t.err)
		t.hint = hintSame
	case op == wire.Delete && cannot:
		t.err = fmt.Errorf("this token lets no program destroy keys: %w", t.err)
		t.hint = "set keys.policy: same, so that renewals keep the key; destroy the old one with the vendor's tool"
	case op == wire.Create && t.hint == hintOther:
		t.err = fmt.Errorf("this token cannot make such a key: %w", t.err)
	}
}

// refusesPIN reports that the token has looked at the PIN. CKR_PIN_LOCKED is not such an answer: tpm2-pkcs11 gives it
// for any PIN while the TPM is locked, which power cuts do to it, and the PIN may be right.
func (t *trouble) refusesPIN() bool {
	switch t.code {
	case pinIncorrect, pinInvalid, pinLenRange:
		return true
	}
	return false
}
