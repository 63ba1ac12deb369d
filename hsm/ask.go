package hsm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/hsm/wire"
	"github.com/devid-agent/devid-agent/keys"
)

// making a key may take that many times as long as anything else: slow chips look for primes for minutes.
const making = 8

// patience is how long a token that does not answer is thought to come back by itself. Then a person is asked.
const patience = 10 * time.Minute

// ask gets an answer from the token, and climbs the ladder for it: the way to the token is built anew, ever more of
// it, each rung at most once. An answer that good objects to is a lie, against which only a new helper may help.
func (s *Store) ask(ctx context.Context, r wire.Request, good func(wire.Answer) error) (wire.Answer, error) {
	if err := s.take(ctx); err != nil {
		return wire.Answer{}, err
	}
	defer s.release()
	for last, opened := standing, s.opened; ; {
		a, t := s.try(ctx, r, good)
		if t == nil {
			s.well(last)
			return a, nil
		}
		next := max(t.rung, last+1)
		// Absence is believed of a fresh context only: to an old one, a token that was pulled looks empty.
		believed := t.absent && s.opened > opened
		if t.rung == standing || believed || next > helpers || ctx.Err() != nil {
			return wire.Answer{}, s.judge(ctx, t, last)
		}
		if !t.absent {
			s.health.rungs[next].Add(1)
			s.log.Warn("token needs healing", "part", "hsm", "by", next.String(), "err", t.err)
		}
		if t := s.heal(ctx, next); t != nil && t.rung == standing {
			return wire.Answer{}, s.judge(ctx, t, next)
		}
		last = next
	}
}

func (s *Store) try(ctx context.Context, r wire.Request, good func(wire.Answer) error) (wire.Answer, *trouble) {
	if t := s.ready(ctx); t != nil {
		return wire.Answer{}, t
	}
	a, t := s.call(ctx, r)
	if t == nil && good != nil {
		switch err := good(a); {
		case errors.Is(err, keys.ErrNotFound):
			return a, &trouble{err: err, rung: contexts, absent: true}
		case err != nil:
			return a, lie(err)
		}
	}
	return a, t
}

// ready has a helper, in it the module, and in that a session that is logged in.
func (s *Store) ready(ctx context.Context) *trouble {
	if s.helper == nil {
		h, err := s.start()
		if err != nil {
			return s.unstarted(err)
		}
		s.have(h)
		s.health.started.Add(1)
		s.log.Debug("pkcs11 helper started", "part", "hsm", "pid", h.cmd.Process.Pid)
	}
	if s.helper.open {
		return nil
	}
	a, t := s.call(ctx, wire.Request{Op: wire.Open, Module: s.address.module, Token: s.address.token})
	if t != nil {
		return t
	}
	s.helper.token = a.Token
	if t := s.login(ctx); t != nil {
		return t
	}
	s.helper.open = true
	s.opened++
	return nil
}

// unstarted: a program that is not there will not come by trying again at once.
func (s *Store) unstarted(err error) *trouble {
	if fault.Of(err) == fault.Operator {
		return final(err)
	}
	return &trouble{err: err, rung: helpers, hint: hintModule}
}

// call asks the helper that is there, and settles while that is at work.
func (s *Store) call(ctx context.Context, r wire.Request) (wire.Answer, *trouble) {
	limit := s.config.Deadline
	if r.Op == wire.Create {
		limit *= making
	}
	var owed error
	a, err := s.helper.ask(ctx, r, limit, func() { owed = s.settle() })
	if err != nil {
		s.lose()
		return a, &trouble{err: fmt.Errorf("%s: %w", r.Op, err), rung: helpers, hint: hintModule}
	}
	if owed != nil {
		return a, lie(owed)
	}
	if a.Fault != nil {
		a.Fault.Doing = s.said.text(a.Fault.Doing)
	}
	return a, troubleOf(r.Op, a.Fault)
}

// heal builds the rung anew. Where that fails, the next try finds out and climbs on.
func (s *Store) heal(ctx context.Context, r rung) (t *trouble) {
	switch {
	case r == helpers || s.helper == nil:
		s.drop()
	case r == contexts || !s.helper.open:
		s.helper.open = false
	case r == sessions:
		_, t = s.call(ctx, wire.Request{Op: wire.Renew})
	case r == logins:
		t = s.login(ctx)
	}
	return t
}

// drop kills the helper.
func (s *Store) drop() {
	if s.helper != nil {
		_ = s.helper.kill()
		s.lose()
	}
}

// lose settles, and forgets a helper that was killed, unless it hangs in a driver, where no signal reaches it.
func (s *Store) lose() {
	if !s.helper.dead {
		s.undead = s.helper
	}
	s.have(nil)
	s.audit()
}

// buried says whether the last helper is gone, so that not one after the other hangs in the same driver.
func (s *Store) buried() error {
	if s.undead == nil || s.undead.await(0) {
		s.undead = nil
		return nil
	}
	return fault.AskOperator(fmt.Errorf("the killed PKCS#11 helper %d hangs in a driver", s.undead.cmd.Process.Pid),
		"take the token out and put it back, or restart the device")
}

// have is the helper from now on; nil is none.
func (s *Store) have(h *helper) {
	s.helper = h
	if h == nil {
		s.health.pid.Store(0)
		return
	}
	s.health.pid.Store(int64(h.cmd.Process.Pid))
}

// login tries the PIN, if this token has not refused it before.
func (s *Store) login(ctx context.Context) *trouble {
	token := s.helper.token
	pin, err := s.givenPIN(token)
	if err != nil || pin == nil {
		return final(err)
	}
	s.said.hide(pin)
	attempt, err := s.tries.begin(token, pin)
	if err != nil {
		return final(fmt.Errorf("log in to token %q%s: %w", token.Label, s.source(), err))
	}
	_, t := s.call(ctx, wire.Request{Op: wire.Login, PIN: pin})
	return s.verdict(attempt, t)
}

// givenPIN is nil where none is needed.
func (s *Store) givenPIN(token wire.Token) (secret, error) {
	switch {
	case s.pin != "":
		return readPIN(s.pin)
	case token.Flags&wire.LoginRequired == 0:
		return nil, nil
	case s.config.Ask == nil || token.Flags&wire.ProtectedPath != 0:
		return nil, withoutPIN(token)
	}
	b, err := s.config.Ask(token.Label)
	if err != nil {
		return nil, fault.As(fault.Operator, fmt.Errorf("ask for the PIN of token %q: %w", token.Label, err))
	}
	return checkPIN(b)
}

// source is where the PIN comes from, in an error.
func (s *Store) source() string {
	if s.pin == "" {
		return ""
	}
	return " with " + s.pin
}

func withoutPIN(token wire.Token) error {
	if token.Flags&wire.ProtectedPath != 0 {
		return fault.AskOperator(fmt.Errorf("token %q wants its PIN typed on its own keypad", token.Label), "use a token that takes its PIN from the program: nobody stands beside a gateway")
	}
	return fault.AskOperator(fmt.Errorf("token %q wants a PIN", token.Label),
		"put it into a file that only the agent can read, and name that in keys.pin")
}

// verdict writes down what the token said to the PIN. A helper that died over it said nothing.
func (s *Store) verdict(a *attempt, t *trouble) *trouble {
	switch {
	case t == nil:
		// The try stays written down where it cannot be struck out; the next start then has one less.
		if err := a.accept(); err != nil {
			s.log.Warn("token accepted the PIN, which could not be noted", "part", "hsm", "err", err)
		}
		return nil
	case !t.judged:
		return t
	case t.refusesPIN():
		if err := a.refused(); err != nil {
			return final(errors.Join(t.err, err))
		}
		t.err = fmt.Errorf("log in to token %q%s: %w", s.helper.token.Label, s.source(), t.err)
		return t
	}
	if err := a.strike(); err != nil {
		return final(errors.Join(t.err, err))
	}
	return t
}

// judge labels trouble for those outside: what no rung heals is transient at first, and a person's after a while.
func (s *Store) judge(ctx context.Context, t *trouble, climbed rung) error {
	err := t.err
	if climbed > standing && !t.absent {
		err = fmt.Errorf("%w (and after %s)", err, climbed)
	}
	switch {
	case t.absent || errors.Is(err, keys.ErrExists):
		return err
	case t.rung == standing && t.hint != "":
		return fault.As(t.kind, fault.AskOperator(err, t.hint))
	case t.rung == standing:
		return fault.As(t.kind, err)
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	if s.ill.IsZero() {
		s.ill = time.Now()
	}
	err = fault.AskOperator(err, t.hint)
	if time.Since(s.ill) < patience {
		return fault.As(fault.Transient, err)
	}
	return err
}

func (s *Store) well(climbed rung) {
	s.ill = time.Time{}
	if climbed > standing {
		s.log.Info("token healed", "part", "hsm", "by", climbed.String())
	}
}
