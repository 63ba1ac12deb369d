package hsm_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/hsm"
	"github.com/devid-agent/devid-agent/hsm/hsmtest"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
)

// hostile is a store on a token with a key that was made through an honest module, behind one with these habits.
func hostile(t *testing.T, a keys.Algorithm, habits ...string) (*hsm.Store, *hsmtest.Habit) {
	t.Helper()
	bad, honest := hsmtest.Hostile(t, habits...)
	c := honest.Config()
	c.Algorithm = a
	s := honest.Open(t, c)
	create(t, s, "device-g1")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c = bad.Config()
	c.Algorithm = a
	if slices.Contains(habits, "HANG") {
		c.Deadline = 5 * time.Second
	}
	return bad.Open(t, c), bad
}

func TestAModuleThatMisbehavesOnceIsHealed(t *testing.T) {
	for _, habit := range []string{"SEGFAULT", "HANG", "WRONG", "EMPTY", "GLUTTON"} {
		t.Run(habit, func(t *testing.T) {
			t.Parallel()
			s, bad := hostile(t, keys.ECDSAP256, habit, "FROM=2", "TO=2")
			key, err := s.Open(t.Context(), "device-g1")
			if err != nil {
				t.Fatal(err)
			}
			verify(t, key)
			if h := s.Health(); h.Helpers != 1 || h.Started != 2 {
				t.Errorf("health %+v, want one new helper", h)
			}
			if n := bad.Count("signatures"); n != 1+1+3 {
				t.Errorf("%d signatures for a probe and 3 asked for, one of them twice", n)
			}
		})
	}
}

func TestAModuleThatAlwaysMisbehavesIsNamedWithARemedy(t *testing.T) {
	for habit, words := range map[string][]string{
		"SEGFAULT": {"the module's process died", "SIGSEGV"},
		"HANG":     {"did not answer in time"},
		"WRONG":    {"the module lies", "does not fit the public key"},
		"EMPTY":    {"the module"},
		"GLUTTON":  {"C_Sign: CKR_HOST_MEMORY"},
	} {
		t.Run(habit, func(t *testing.T) {
			t.Parallel()
			s, bad := hostile(t, keys.ECDSAP256, habit, "FROM=2")
			key, err := s.Open(t.Context(), "device-g1")
			if err != nil {
				t.Fatal(err)
			}
			err = sign(key)
			wantWords(t, err, append(words, "sign with key device-g1", "after a new helper")...)
			if n := bad.Count("signatures"); n != 3 {
				t.Errorf("tried %d times, want twice", n-1)
			}
			if _, err := s.Names(t.Context()); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// Each code is healed by its own rung and, where that does not help, by the next ones, each taken once.
func TestEachRungHealsWhatItCan(t *testing.T) {
	const deviceError, sessionClosed, notLoggedIn, vendor = "0x30", "0xB0", "0x101", "0x80000001"
	for _, c := range []struct {
		code, cure string
		want       hsm.Health
	}{
		{sessionClosed, "1", hsm.Health{Started: 1, Sessions: 1}},
		{sessionClosed, "2", hsm.Health{Started: 1, Sessions: 1, Logins: 1}},
		{sessionClosed, "3", hsm.Health{Started: 1, Sessions: 1, Logins: 1, Contexts: 1}},
		{sessionClosed, "4", hsm.Health{Started: 2, Sessions: 1, Logins: 1, Contexts: 1, Helpers: 1}},
		{notLoggedIn, "2", hsm.Health{Started: 1, Logins: 1}},
		{deviceError, "3", hsm.Health{Started: 1, Contexts: 1}},
		{deviceError, "4", hsm.Health{Started: 2, Contexts: 1, Helpers: 1}},
		{vendor, "4", hsm.Health{Started: 2, Helpers: 1}},
	} {
		t.Run(c.code+" by "+c.cure, func(t *testing.T) {
			t.Parallel()
			s, _ := hostile(t, keys.ECDSAP256, "CODE="+c.code, "CURE="+c.cure, "FROM=2", "TO=2")
			key, err := s.Open(t.Context(), "device-g1")
			if err != nil {
				t.Fatal(err)
			}
			verify(t, key)
			h := s.Health()
			if h.PID = 0; h != c.want {
				t.Errorf("health %+v, want %+v", h, c.want)
			}
		})
	}
}

func TestWhatNoRungHealsIsTransientFirst(t *testing.T) {
	s, _ := hostile(t, keys.ECDSAP256, "CODE=0x30", "CURE=5", "FROM=2")
	key, err := s.Open(t.Context(), "device-g1")
	if err != nil {
		t.Fatal(err)
	}
	err = sign(key)
	wantWords(t, err, "C_Sign: CKR_DEVICE_ERROR", "after a new helper")
	if fault.Of(err) != fault.Transient {
		t.Errorf("%v is %v", err, fault.Of(err))
	}
}

func TestLeakedSessionsAreTakenBackByANewContext(t *testing.T) {
	s, _ := hostile(t, keys.ECDSAP256, "LEAK=8")
	key, err := s.Open(t.Context(), "device-g1")
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		verify(t, key)
	}
	if h := s.Health(); h.Sessions == 0 || h.Contexts == 0 || h.Helpers != 0 {
		t.Errorf("health %+v, want new sessions and contexts but no new helper", h)
	}
}

func TestATokenWithTheLargestSaltIsHeldToPKCS1(t *testing.T) {
	for _, habit := range []string{"SALT", "NOPSS"} {
		s, _ := hostile(t, keys.RSA2048, habit)
		key, err := s.Open(t.Context(), "device-g1")
		if err != nil {
			t.Fatal(err)
		}
		_, err = key.Sign(rand.Reader, make([]byte, 32), &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
		if err == nil || !strings.Contains(err.Error(), "TLS 1.2") {
			t.Errorf("%s: PSS: %v", habit, err)
		}
		if err := sign(key); err != nil {
			t.Errorf("%s: PKCS #1 v1.5: %v", habit, err)
		}
		handshake(t, key)
		if facts, err := s.Inspect(t.Context(), "device-g1"); err != nil || facts.Padding != hsm.PaddedNot {
			t.Errorf("%s: facts %+v, %v", habit, facts, err)
		}
		if h := s.Health(); h.Helpers != 0 {
			t.Errorf("%s: %+v", habit, h)
		}
	}
}

// handshake proves that the key's own list of algorithms is what TLS 1.2 needs to succeed with it.
func handshake(t *testing.T, key crypto.Signer) {
	t.Helper()
	limited, ok := key.(interface{ SignatureSchemes() []tls.SignatureScheme })
	if !ok || !slices.Contains(limited.SignatureSchemes(), tls.PKCS1WithSHA256) {
		t.Fatal("the key does not say what it can")
	}
	authority := keystest.NewAuthority(t)
	cert := authority.Certify(t, "device-1", key)
	cert.SupportedSignatureAlgorithms = limited.SignatureSchemes()
	if err := authority.Handshake(t, cert, tls.VersionTLS12); err != nil {
		t.Errorf("TLS 1.2: %v", err)
	}
}

func TestATokenThatMakesNoKeysOffersTheSameKey(t *testing.T) {
	s, _ := hostile(t, keys.ECDSAP256, "FIXED")
	_, createErr := s.Create(t.Context(), "device-g2")
	for verb, err := range map[string]error{"make": createErr, "destroy": s.Delete(t.Context(), "device-g1")} {
		wantWords(t, err, "lets no program "+verb+" keys", "CKR_FUNCTION_NOT_SUPPORTED")
		if !strings.Contains(fault.Hint(err), "keys.policy: same") || fault.Of(err) != fault.Operator {
			t.Errorf("%v: %v, hint %q", err, fault.Of(err), fault.Hint(err))
		}
	}
}

func TestAKeyThatCouldLeaveIsDestroyed(t *testing.T) {
	s, bad := hostile(t, keys.ECDSAP256, "LOOSE")
	_, err := s.Create(t.Context(), "device-g2")
	wantWords(t, err, "CKA_EXTRACTABLE is true", "destroyed")
	if listed := bad.Tool("--list-objects"); strings.Contains(listed, "device-g2") {
		t.Errorf("left on the token:\n%s", listed)
	}
	facts, err := s.Inspect(t.Context(), "device-g1")
	if err != nil || !slices.Contains(facts.Attributes, "CKA_EXTRACTABLE") {
		t.Errorf("facts %+v, %v", facts, err)
	}
}

func TestAModuleThatForksLeavesNobodyBehind(t *testing.T) {
	s, _ := hostile(t, keys.ECDSAP256, "FORK")
	key, err := s.Open(t.Context(), "device-g1")
	if err != nil {
		t.Fatal(err)
	}
	verify(t, key)
	leader := s.Health().PID
	if group := group(t, leader); len(group) < 2 {
		t.Fatalf("processes %v, want the helper and what its module started", group)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if left := group(t, leader); len(left) != 0 {
		t.Errorf("processes %v are left", left)
	}
}

func TestACreationThatTheHelperDidNotSurviveIsFinished(t *testing.T) {
	s, bad := hostile(t, keys.ECDSAP256, "MISCARRY")
	verify(t, create(t, s, "device-g2"))
	if h := s.Health(); bad.Count("made") != 1 || h.Helpers != 1 {
		t.Errorf("made %d keys, health %+v", bad.Count("made"), h)
	}
	if n := strings.Count(bad.Tool("--list-objects", "--type", "privkey"), "device-g2"); n != 1 {
		t.Errorf("%d keys on the token", n)
	}
}

func TestAModuleThatPrintsWithoutEndStillSigns(t *testing.T) {
	s, _ := hostile(t, keys.ECDSAP256, "FLOOD")
	key, err := s.Open(t.Context(), "device-g1")
	if err != nil {
		t.Fatal(err)
	}
	verify(t, key)
	if h := s.Health(); h.Helpers != 0 {
		t.Errorf("health %+v", h)
	}
}

func TestAnImpatientAskerDoesNotCostTheHelper(t *testing.T) {
	s, bad := hostile(t, keys.ECDSAP256, "SLOW=200000")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Create(ctx, "device-g2"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("create: %v", err)
	}
	if names, err := s.Names(t.Context()); err != nil || !slices.Equal(names, []string{"device-g1"}) {
		t.Errorf("names %q, %v: a key that nobody was told of stays", names, err)
	}
	key, err := s.Open(t.Context(), "device-g1")
	if err != nil {
		t.Fatal(err)
	}
	verify(t, key)
	if h := s.Health(); h.Started != 1 || bad.Count("logins") != 1 {
		t.Errorf("health %+v, %d logins", h, bad.Count("logins"))
	}
}

func TestALoginThatWasLostIsNotTakenForALostKey(t *testing.T) {
	for _, find := range []string{"FORGET=1", "FORGET=2"} {
		s, _ := hostile(t, keys.ECDSAP256, find)
		for range 2 {
			if names, err := s.Names(t.Context()); err != nil || !slices.Equal(names, []string{"device-g1"}) {
				t.Errorf("names %q, %v", names, err)
			}
			if _, err := s.Open(t.Context(), "device-g1"); err != nil {
				t.Error(err)
			}
		}
		if h := s.Health(); h.Logins != 1 || h.Contexts != 0 {
			t.Errorf("health %+v, want one new login", h)
		}
	}
}
