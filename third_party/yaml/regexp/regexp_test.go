package regexp

import (
	original "regexp"
	"testing"
)

// each calls f with every string of up to n of the letters.
func each(letters string, n int, s string, f func(string)) {
	f(s)
	for i := 0; n > 0 && i < len(letters); i++ {
		each(letters, n-1, s+letters[i:i+1], f)
	}
}

func TestTheStandInMatchesWhatTheExpressionsMatch(t *testing.T) {
	for expression, letters := range map[string]string{float: "-+.09eE:", base60: "-+.059_:"} {
		theirs, ours := original.MustCompile(expression), MustCompile(expression)
		matches := 0
		each(letters, 6, "", func(s string) {
			want := theirs.MatchString(s)
			if got := ours.MatchString(s); got != want {
				t.Errorf("%s matches %q: %t, want %t", expression, s, got, want)
			}
			if want {
				matches++
			}
		})
		if matches < 100 {
			t.Errorf("%s matches only %d of the strings", expression, matches)
		}
	}
}

func FuzzMatch(f *testing.F) {
	for _, s := range []string{"1.5e10", "-.5", "190:20:30.15", "+1_0:59", "1:60", "\n1", "1\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, expression := range []string{float, base60} {
			if got, want := MustCompile(expression).MatchString(s), original.MustCompile(expression).MatchString(s); got != want {
				t.Errorf("%s matches %q: %t, want %t", expression, s, got, want)
			}
		}
	})
}

func TestAnUnknownExpressionIsRefused(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("an expression that is not known was compiled")
		}
	}()
	MustCompile("^a+$")
}
