// Package fault says of an error who can do something about it, and how long to wait before the next try.
//
// Labels are put on where the outside world is touched, the middle adds words with %w, and only the loops
// that run for the life of the process look at them.
package fault

import (
	"context"
	"errors"
	"time"
)

// Kind is who can act on an error.
type Kind uint8

const (
	Transient Kind = iota // time will: no route, 429, a busy TPM. Errors without a label are of this kind.
	Permanent             // nobody, not with this input: a rejected CSR, a refused certificate, a record too large
	Operator              // a person: a wrong PIN, no enrollment, a disabled device
	Fatal                 // a restart: fsync failed, state damaged, an invariant broken
)

// String is the kind as logs and status show it.
func (k Kind) String() string {
	switch k {
	case Transient:
		return "transient"
	case Permanent:
		return "permanent"
	case Operator:
		return "operator"
	case Fatal:
		return "fatal"
	}
	return "unknown"
}

// MarshalText is String: JSON logs and the status file say it in words too.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

type labelled struct {
	error
	kind  Kind
	hint  string
	after time.Duration
}

func (l *labelled) Unwrap() error { return l.error }

// As labels err with k. A nil err stays nil.
func As(k Kind, err error) error {
	if err == nil {
		return nil
	}
	return &labelled{error: err, kind: k}
}

// AskOperator labels err as Operator and carries the remedy in words. A nil err stays nil.
func AskOperator(err error, hint string) error {
	if err == nil {
		return nil
	}
	return &labelled{error: err, kind: Operator, hint: hint}
}

// Later labels err as Transient and carries the shortest wait that the other side asked for.
// A nil err stays nil.
func Later(err error, wait time.Duration) error {
	if err == nil {
		return nil
	}
	return &labelled{error: err, kind: Transient, after: wait}
}

// Of returns the outermost label of err, and Transient where there is none.
func Of(err error) Kind {
	if l, ok := errors.AsType[*labelled](err); ok {
		return l.kind
	}
	return Transient
}

// Hint returns the outermost remedy that err carries, or "".
func Hint(err error) string {
	for {
		l, ok := errors.AsType[*labelled](err)
		if !ok {
			return ""
		}
		if l.hint != "" {
			return l.hint
		}
		err = l.error
	}
}

// RetryAfter returns the shortest wait that err carries, or 0.
func RetryAfter(err error) time.Duration {
	for {
		l, ok := errors.AsType[*labelled](err)
		if !ok {
			return 0
		}
		if l.after != 0 {
			return l.after
		}
		err = l.error
	}
}

// Stopped reports whether err only says that somebody asked for the stop.
func Stopped(err error) bool { return errors.Is(err, context.Canceled) }
