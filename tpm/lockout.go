package tpm

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/fault"
)

// lockout is how near the TPM is to refusing all passwords: its protection against guessing (part 1, 19.8).
type lockout struct {
	ownerAuth bool // the owner hierarchy has a password
	locked    bool
	counter   uint32        // wrong passwords, and power cuts that might have hidden one
	limit     uint32        // of the counter, from which on the TPM is locked
	interval  time.Duration // after which the counter falls by one; 0 where nothing is counted
}

// Bits of TPM_PT_PERMANENT (part 2, 8.6).
const ownerAuthSet, inLockout = 1 << 0, 1 << 9

func (t *session) lockout() (lockout, error) {
	p, err := properties(t, tpm2.TPMPTPermanent, tpm2.TPMPTLockoutRecovery)
	if err != nil {
		return lockout{}, err
	}
	return lockout{
		ownerAuth: p[tpm2.TPMPTPermanent]&ownerAuthSet != 0,
		locked:    p[tpm2.TPMPTPermanent]&inLockout != 0,
		counter:   p[tpm2.TPMPTLockoutCounter],
		limit:     p[tpm2.TPMPTMaxAuthFail],
		interval:  time.Duration(p[tpm2.TPMPTLockoutInterval]) * time.Second,
	}, nil
}

// ours is from which count on we try no password: half of the tries are left to people and to other programs.
func (l lockout) ours() uint32 { return l.limit - l.limit/2 }

// check says why no password may be tried now, and from when on one may; or nil.
func (l lockout) check(now time.Time) error {
	switch {
	case l.limit == 0:
		return fault.AskOperator(errors.New("the TPM permits no password at all (TPM_PT_MAX_AUTH_FAIL is 0)"),
			"run tpm2_dictionarylockout --setup-parameters with --max-tries of 5 or more")
	case !l.locked && (l.interval == 0 || l.counter < l.ours()):
		return nil
	case l.interval == 0:
		return fault.AskOperator(errors.New("the TPM is locked, and does not say until when"), hintLockout)
	}
	wait := l.safe()
	err := fmt.Errorf("%d of %d wrong passwords counted by the TPM, safe again at %s", l.counter, l.limit, clock(now, wait))
	return fault.AskOperator(fault.Later(err, wait),
		"wait until then, or run tpm2_dictionarylockout --clear-lockout; power cuts count too for keys without noDA")
}

// safe is how long the counter takes at most to fall below what we may spend.
func (l lockout) safe() time.Duration {
	steps := uint32(1)
	if l.counter >= l.ours() {
		steps += l.counter - l.ours()
	}
	return time.Duration(steps) * l.interval
}

// clock is the time of the day, with the date where that is another one.
func clock(now time.Time, wait time.Duration) string {
	then := now.Add(wait).Add(time.Minute - 1).Truncate(time.Minute) // never a minute too early
	if then.YearDay() == now.YearDay() && then.Year() == now.Year() {
		return then.Format("15:04")
	}
	return then.Format("2006-01-02 15:04")
}

// mayGuess asks the counters before a password is used that may be wrong.
func (t *session) mayGuess() error {
	l, err := t.lockout()
	if err != nil {
		return err
	}
	return l.check(time.Now())
}

// untilWhen adds to a lockout when it ends.
func (t *session) untilWhen(err error) error {
	if !oneOf(err, tpm2.TPMRCLockout) {
		return err
	}
	l, asked := t.lockout()
	if asked != nil {
		return err
	}
	l.locked = true
	why := l.check(time.Now())
	wrapped := fmt.Errorf("%w: %w", err, why)
	return fault.AskOperator(fault.Later(wrapped, fault.RetryAfter(why)), fault.Hint(why))
}
