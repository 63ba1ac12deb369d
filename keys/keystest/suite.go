package keystest

import (
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/devid-agent/devid-agent/keys"
)

// Place is where keys of one algorithm live. Calling it opens a store there, as each start of the agent does.
type Place func(t *testing.T) keys.Store

// Verifier says why the evidence proves nothing to who asked with nonce, or nil.
type Verifier func(e keys.Evidence, nonce []byte) error

// Suite holds the stores at fresh places against the contract of keys.Store, and those that can do more against that
// of keys.Inspector and keys.Attester. Each call of place is a new place. Evidence is held against verify, which is nil
// for stores that have none.
func Suite(t *testing.T, a keys.Algorithm, place func(t *testing.T) Place, verify Verifier) {
	for _, story := range []struct {
		name string
		tell func(*testing.T, keys.Algorithm, Place)
	}{
		{"CreateMakesAKeyOfTheAlgorithm", createMakesAKey},
		{"ANameThatIsTakenIsNeverOverwritten", takenName},
		{"AReopenedStoreHasTheSameKeys", reopened},
		{"AnUnknownNameIsNotFound", unknownName},
		{"DeletedIsGoneForGood", deleted},
		{"NamesAreSorted", namesSorted},
		{"InvalidNamesAreRefused", invalidNames},
		{"ACancelledContextChangesNothing", cancelled},
		{"KeysAreUsedSideBySide", sideBySide},
		{"OneOfManyCreatorsOfANameWins", oneWinner},
		{"SignaturesVerify", signaturesVerify},
		{"ADigestOfTheWrongLengthIsRefused", wrongDigest},
		{"ClientCertificateIsAcceptedByTLS", acceptedByTLS},
		{"InspectionSaysThatTheKeyStays", inspected},
		{"EvidenceIsOfTheKeyAndForOneNonce", func(t *testing.T, _ keys.Algorithm, open Place) { attested(t, open, verify) }},
	} {
		t.Run(story.name, func(t *testing.T) { story.tell(t, a, place(t)) })
	}
}

func createMakesAKey(t *testing.T, a keys.Algorithm, open Place) {
	s := open(t)
	first, second := create(t, s, "device-g1"), create(t, s, "device-g2")
	for _, key := range []crypto.Signer{first, second} {
		if got := algorithmOf(key.Public()); got != a {
			t.Errorf("created a key of %s, want %s", got, a)
		}
	}
	if same(first, second) {
		t.Error("two names got one key")
	}
}

func takenName(t *testing.T, _ keys.Algorithm, open Place) {
	first := create(t, open(t), "device-g1")
	for _, s := range []keys.Store{open(t), open(t)} {
		if _, err := s.Create(t.Context(), "device-g1"); !errors.Is(err, keys.ErrExists) {
			t.Errorf("create again: %v, want ErrExists", err)
		}
		if !same(reopen(t, s, "device-g1"), first) {
			t.Error("the key is another one now")
		}
	}
	check(t, first)
}

func reopened(t *testing.T, _ keys.Algorithm, open Place) {
	first := create(t, open(t), "device-g1")
	again := reopen(t, open(t), "device-g1")
	if !same(first, again) {
		t.Error("another public key after reopening")
	}
	check(t, first)
	check(t, again)
}

func unknownName(t *testing.T, _ keys.Algorithm, open Place) {
	s := open(t)
	create(t, s, "device-g1")
	for _, name := range []string{"device-g2", "device-g", "device-g11", "device"} {
		if _, err := s.Open(t.Context(), name); !errors.Is(err, keys.ErrNotFound) {
			t.Errorf("open %s: %v, want ErrNotFound", name, err)
		}
		if err := s.Delete(t.Context(), name); err != nil {
			t.Errorf("delete %s, which is absent: %v", name, err)
		}
	}
	check(t, reopen(t, s, "device-g1"))
}

func deleted(t *testing.T, _ keys.Algorithm, open Place) {
	s := open(t)
	old, other := create(t, s, "device-g1"), create(t, s, "device-g2")
	if err := s.Delete(t.Context(), "device-g1"); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t).Open(t.Context(), "device-g1"); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("open a deleted key: %v, want ErrNotFound", err)
	}
	if _, err := old.Sign(rand.Reader, digestOf(crypto.SHA256), crypto.SHA256); err == nil {
		t.Error("the signer of a deleted key still signs")
	}
	check(t, other)
	if same(create(t, s, "device-g1"), old) {
		t.Error("the name brought the deleted key back")
	}
}

func namesSorted(t *testing.T, _ keys.Algorithm, open Place) {
	s := open(t)
	for _, name := range []string{"b-1", "b", "a.b_c-9"} {
		create(t, s, name)
	}
	wantNames(t, s, "a.b_c-9", "b", "b-1")
	if err := s.Delete(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	wantNames(t, open(t), "a.b_c-9", "b-1")
}

func invalidNames(t *testing.T, _ keys.Algorithm, open Place) {
	s := open(t)
	long := fmt.Sprintf("%065d", 0)
	for _, name := range []string{"", ".", "..", ".hidden", "../up", "a/b", "Upper", "sp ace", "ü", "nul\x00", long} {
		if _, err := s.Create(t.Context(), name); err == nil || errors.Is(err, keys.ErrExists) {
			t.Errorf("create %q: %v", name, err)
		}
		if _, err := s.Open(t.Context(), name); err == nil || errors.Is(err, keys.ErrNotFound) {
			t.Errorf("open %q: %v, want what is wrong with the name", name, err)
		}
		if err := s.Delete(t.Context(), name); err == nil {
			t.Errorf("delete %q went through", name)
		}
	}
	wantNames(t, s)
	check(t, create(t, s, long[1:]))
}

func cancelled(t *testing.T, _ keys.Algorithm, open Place) {
	s := open(t)
	create(t, s, "device-g1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, createErr := s.Create(ctx, "device-g2")
	_, openErr := s.Open(ctx, "device-g1")
	_, namesErr := s.Names(ctx)
	for _, err := range []error{createErr, openErr, namesErr, s.Delete(ctx, "device-g1")} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("with a cancelled context: %v", err)
		}
	}
	wantNames(t, s, "device-g1")
}

func sideBySide(t *testing.T, _ keys.Algorithm, open Place) {
	s := open(t)
	shared := create(t, s, "shared")
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			name := fmt.Sprintf("worker-%d", i)
			key, err := s.Create(t.Context(), name)
			if err != nil {
				t.Errorf("create %s: %v", name, err)
				return
			}
			for range 3 {
				check(t, key)
				check(t, shared)
			}
			if err := s.Delete(t.Context(), name); err != nil {
				t.Errorf("delete %s: %v", name, err)
			}
		})
	}
	wg.Wait()
	wantNames(t, s, "shared")
}

func oneWinner(t *testing.T, _ keys.Algorithm, open Place) {
	s := open(t)
	var won atomic.Pointer[crypto.Signer]
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			key, err := s.Create(t.Context(), "device-g1")
			switch {
			case err == nil && won.Swap(&key) != nil:
				t.Error("two creators were told that they made the key")
			case err != nil && !errors.Is(err, keys.ErrExists):
				t.Errorf("create: %v", err)
			}
		})
	}
	wg.Wait()
	if winner := won.Load(); winner == nil || !same(*winner, reopen(t, s, "device-g1")) {
		t.Error("the key in the store is not the winner's")
	}
}

func acceptedByTLS(t *testing.T, _ keys.Algorithm, open Place) {
	authority := NewAuthority(t)
	cert := authority.Certify(t, "device-1", create(t, open(t), "device-g1"))
	for name, version := range versions {
		if err := authority.Handshake(t, cert, version); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func inspected(t *testing.T, a keys.Algorithm, open Place) {
	s := open(t)
	inspector, ok := s.(keys.Inspector)
	if !ok {
		return // inspecting is an ability, not a duty
	}
	create(t, s, "device-g1")
	facts, err := inspector.Inspect(t.Context(), "device-g1")
	if err != nil {
		t.Fatal(err)
	}
	if facts.Algorithm != string(a) || facts.Place == "" || len(facts.Attributes) == 0 || facts.Export == "" || !facts.Refused {
		t.Errorf("facts %+v", facts)
	}
	if _, err := inspector.Inspect(t.Context(), "device-g2"); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("inspect an absent key: %v, want ErrNotFound", err)
	}
}

func wantNames(t *testing.T, s keys.Store, want ...string) {
	t.Helper()
	got, err := s.Names(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("names %q, want %q", got, want)
	}
}
