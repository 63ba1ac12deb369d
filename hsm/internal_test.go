package hsm

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/hsm/wire"
	"github.com/devid-agent/devid-agent/keys"
)

func TestEveryCodeHasAWordAndARemedyOrARung(t *testing.T) {
	for code, m := range meanings {
		if !strings.HasPrefix(m.word, "CKR_") {
			t.Errorf("%#x is called %q", code, m.word)
		}
		if m.rung == standing && m.kind == fault.Operator && m.hint == "" {
			t.Errorf("%s is for a person, who is not told what to do", m.word)
		}
		if m.rung == standing && m.kind == fault.Transient {
			t.Errorf("%s passes by itself, and nothing is done about it", m.word)
		}
	}
	if m := meaningOf(0x80000042); m.rung != helpers || m.word != "CKR 0x80000042" {
		t.Errorf("a vendor's own code: %+v", m)
	}
}

func TestEveryReasonHasWords(t *testing.T) {
	for _, r := range []wire.Reason{wire.NoModule, wire.NoToken, wire.ManyTokens, wire.NoKey, wire.ManyKeys, wire.TakenKey, wire.NoPublic,
		wire.ExtractableKey, wire.LockedPIN, wire.FinalTryPIN, wire.Nonsense, wire.BadRequest} {
		t.Run(string(r), func(t *testing.T) {
			trouble := troubleOf(wire.Find, &wire.Fault{Reason: r, Doing: "find"})
			if trouble.err == nil || trouble.err.Error() == "" {
				t.Errorf("%+v", trouble)
			}
		})
	}
}

func TestThePINIsCutFromLinesHoweverTheyAreWritten(t *testing.T) {
	var log bytes.Buffer
	s := &said{log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	s.hide(secret("abc123"))
	long := strings.Repeat("x", shownOfLine-3) + "abc123"
	for _, text := range []string{"a", "bc", "1", "23\n", "hex 616263313233 and 616263313233\n", long + "\n",
		strings.Repeat("y", longestLine-3) + "abc123 and more\n", "no end abc123"} {
		_, _ = fmt.Fprint(s, text)
	}
	_ = s.last()
	for _, half := range []string{"abc123", "616263313233", "abc", "123"} {
		if strings.Contains(log.String(), half) {
			t.Errorf("%q is in %s", half, log.String())
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 5 {
		t.Errorf("%d lines, want 5", n)
	}
}

func TestASecretCannotBePrinted(t *testing.T) {
	pin := secret("abc123")
	for _, format := range []string{"%v", "%s", "%+v", "%#v"} {
		if text := fmt.Sprintf(format, pin); text != "[PIN]" {
			t.Errorf("%s: %s", format, text)
		}
		if text := fmt.Sprintf(format, struct{ P secret }{pin}); strings.Contains(text, "abc123") || strings.Contains(text, "97") {
			t.Errorf("%s: %s", format, text)
		}
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "pin", pin)
	if !strings.Contains(log.String(), "[PIN]") {
		t.Error(log.String())
	}
}

func TestTroubleThatLastsIsAPersons(t *testing.T) {
	s := &Store{ill: time.Now().Add(-patience - time.Second), log: slog.New(slog.DiscardHandler)}
	err := s.judge(t.Context(), &trouble{err: keys.ErrNotFound, rung: contexts, hint: hintAbsent}, helpers)
	if fault.Of(err) != fault.Operator || fault.Hint(err) != hintAbsent {
		t.Errorf("%v is %v, hint %q", err, fault.Of(err), fault.Hint(err))
	}
	s.well(helpers)
	if err := s.judge(t.Context(), &trouble{err: keys.ErrNotFound, rung: contexts, hint: hintAbsent}, helpers); fault.Of(err) != fault.Transient {
		t.Errorf("after a while of health: %v", fault.Of(err))
	}
}
