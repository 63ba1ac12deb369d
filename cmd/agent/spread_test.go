package main

import (
	"testing"
	"time"
)

func TestAFreshlyBootedMachineIsToldByItsUptime(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"26793.48 50000.02\n": 26793480 * time.Millisecond,
		"12.50 20.00\n":       12500 * time.Millisecond,
		"":                    0, // nobody knows: then it may as well be a boot
		"soon":                0,
	} {
		if got := uptime(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func TestADeviceThatDoesNotSpreadDoesNotWait(t *testing.T) {
	if got := (&agent{config: defaultConfig()}).spread(); got != 0 {
		t.Errorf("by default the first connection waits for up to %v", got)
	}
}

func TestTheStatusSaysWhatIsUnusualAndNothingElse(t *testing.T) {
	for _, test := range []struct {
		s    interface{ words() string }
		want string
	}{
		{hubWords{}, ""},
		{hubWords{Kicks: 3, Aside: 2}, ", hung up on 3 times in a row, 2 readings set aside"},
		{spoolWords{}, "0 readings wait (0 bytes), last number 0, dropped 0, damaged 0"},
		{spoolWords{Depth: 4, InMemory: 3, Late: true, Spent: true},
			"4 readings wait (0 bytes), last number 0, dropped 0, damaged 0, in memory 3, the disk does not take what is in memory, the day's writing is used up"},
	} {
		if got := test.s.words(); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

type (
	hubWords   hubStatus
	spoolWords spoolStatus
)

func (h hubWords) words() string   { s := hubStatus(h); return s.unusual() }
func (s spoolWords) words() string { return spoolStatus(s).line() }
