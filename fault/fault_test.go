package fault

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestOutermostLabelWins(t *testing.T) {
	base := errors.New("tpm: response 0x922")
	err := fmt.Errorf("sign: %w", As(Permanent, fmt.Errorf("load: %w", As(Transient, base))))
	if Of(err) != Permanent || !errors.Is(err, base) {
		t.Errorf("Of = %v, Is = %v", Of(err), errors.Is(err, base))
	}
	if Of(base) != Transient || Of(nil) != Transient {
		t.Error("an error without a label is Transient")
	}
}

func TestNilStaysNil(t *testing.T) {
	for _, err := range []error{As(Fatal, nil), AskOperator(nil, "x"), Later(nil, time.Second)} {
		if err != nil {
			t.Errorf("label of nil = %v", err)
		}
	}
}

func TestHintAndRetryAfterSurviveFurtherLabels(t *testing.T) {
	err := As(Operator, fmt.Errorf("enroll: %w", AskOperator(errors.New("404"), "create the enrollment")))
	if Hint(err) != "create the enrollment" {
		t.Errorf("Hint = %q", Hint(err))
	}
	err = fmt.Errorf("assign: %w", As(Transient, Later(errors.New("429"), 7*time.Second)))
	if RetryAfter(err) != 7*time.Second {
		t.Errorf("RetryAfter = %v", RetryAfter(err))
	}
}

func TestBackoffGrowsToItsBoundAndResets(t *testing.T) {
	b := Backoff{Min: time.Second, Max: 8 * time.Second}
	for i := range 200 {
		wait, again := b.Next(errors.New("no route"))
		if bound := min(time.Second<<min(i, 10), 8*time.Second); wait > bound || wait < time.Second/4 || !again {
			t.Fatalf("try %d: wait %v, again %v", i, wait, again)
		}
	}
	b.Next(nil)
	if wait, _ := b.Next(errors.New("no route")); wait > time.Second {
		t.Errorf("after a success wait = %v, want at most Min", wait)
	}
}

func TestBackoffIsSlowForWhatTimeDoesNotHeal(t *testing.T) {
	b := Backoff{Slow: time.Hour}
	for _, k := range []Kind{Permanent, Operator} {
		if wait, again := b.Next(As(k, errors.New("x"))); wait < 50*time.Minute || wait > 70*time.Minute || !again {
			t.Errorf("%v: wait %v again %v", k, wait, again)
		}
	}
}

func TestRetryAfterIsAFloor(t *testing.T) {
	b := Backoff{Min: time.Millisecond, Max: time.Millisecond}
	if wait, _ := b.Next(Later(errors.New("429"), time.Minute)); wait < time.Minute || wait > 67*time.Second {
		t.Errorf("wait = %v", wait)
	}
}

func TestBackoffEndsOnFatalAndOnStop(t *testing.T) {
	b := Backoff{}
	for _, err := range []error{As(Fatal, errors.New("fsync")), fmt.Errorf("run: %w", context.Canceled)} {
		if _, again := b.Next(err); again {
			t.Errorf("again after %v", err)
		}
	}
}
