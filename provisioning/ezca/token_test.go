package ezca

import (
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

func TestClockThatIsOffIsHealedByTheServicesDate(t *testing.T) {
	for _, offset := range []time.Duration{-2 * time.Hour, -30 * time.Second, 3 * time.Minute, 20 * time.Minute, -4 * time.Minute} {
		s := newService(t)
		w := s.world()
		w.inForce(w.issue())
		s.offset = offset
		chain, err := w.issue()
		w.wantChain(s.root, chain, err)
		want := 3
		if offset == 3*time.Minute || offset == -30*time.Second {
			want = 2 // the token holds
		}
		if len(s.paths) != want || w.tokenIsLeft() {
			t.Errorf("%v: %d requests", offset, len(s.paths))
		}
		if want == 3 && !strings.Contains(w.log.String(), "the clocks of device and service differ") {
			t.Errorf("%v: %s", offset, w.log)
		}
	}
}

func TestRefusedTokenIsNotTriedAgainWhereTheClocksAgree(t *testing.T) {
	s := newService(t)
	w := s.world()
	w.inForce(w.issue())
	clear(s.issued)
	_, err := w.issue()
	if fault.Of(err) != fault.Operator || !strings.Contains(fault.Hint(err), "not revoked") || len(s.paths) != 2 {
		t.Errorf("%v: %v | %s, %q", fault.Of(err), err, fault.Hint(err), s.paths)
	}
}

func TestTokenIsNotTakenElsewhereNotEvenOnTheSameHost(t *testing.T) {
	s := newService(t)
	w := s.world()
	w.inForce(w.issue())
	for _, place := range []string{"https://evil.test/api", "http://" + s.Listener.Addr().String() + "/api", "/api/other"} {
		s.before = func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, place, http.StatusTemporaryRedirect)
			return true
		}
		asked := len(s.paths)
		if _, err := w.issue(); err == nil || fault.Of(err) == fault.Transient || len(s.paths) != asked+1 {
			t.Errorf("%s: %v: %v, %q", place, fault.Of(err), err, s.paths[asked:])
		}
	}
}

func TestTokensAreInNoLogAndNoErrorNotEvenWhereTheServiceRepeatsThem(t *testing.T) {
	s := newService(t)
	w := s.world()
	echo := func(w http.ResponseWriter, r *http.Request) bool {
		http.Error(w, "refused: "+r.Header.Get("Authorization"), http.StatusUnauthorized)
		return true
	}
	var told strings.Builder
	note := func(_ []*x509.Certificate, err error) {
		told.WriteString(err.Error() + fault.Hint(err))
	}
	s.before = echo
	note(w.issue())
	s.before = nil
	w.inForce(w.issue())
	s.before, s.offset = echo, time.Hour
	note(w.issue())
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		w.Write([]byte(`{"Success":false,"Message":"` + r.Header.Get("Authorization") + `"}`))
		return true
	}
	note(w.issue())
	told.WriteString(w.log.String())
	if len(s.tokens) != 5 {
		t.Fatalf("%d tokens were sent", len(s.tokens))
	}
	for _, token := range s.tokens {
		for part := range strings.SplitSeq(token, ".") {
			if len(part) < 16 || strings.Contains(told.String(), part) {
				t.Errorf("%q is told: %s", part, told.String())
			}
		}
	}
}

func TestTokenOfARenewalIsShortLivedAndFreshEachTime(t *testing.T) {
	s := newService(t)
	w := s.world()
	w.inForce(w.issue())
	seen := map[string]bool{}
	for _, life := range []time.Duration{0, 2 * time.Minute, 30 * time.Minute} {
		w.config.TokenLife = life
		chain, err := w.issue()
		w.wantChain(s.root, chain, err)
		text, _ := base64.RawURLEncoding.DecodeString(strings.Split(s.tokens[len(s.tokens)-1], ".")[1])
		var c claims
		if err := unmarshal(text, &c); err != nil {
			t.Fatal(err)
		}
		if life == 0 {
			life = 5 * time.Minute
		}
		if time.Duration(c.To-c.From)*time.Second != life || seen[c.ID] {
			t.Errorf("%v: %s", life, text)
		}
		seen[c.ID] = true
	}
}
