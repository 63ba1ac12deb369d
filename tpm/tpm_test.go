package tpm_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
	"github.com/devid-agent/devid-agent/tpm"
	"github.com/devid-agent/devid-agent/tpm/tpmtest"
)

func open(t *testing.T, c tpm.Config) *tpm.Store {
	t.Helper()
	s, err := tpm.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// store is a store in a directory of its own.
func store(t *testing.T, p *tpmtest.TPM) *tpm.Store {
	t.Helper()
	return open(t, tpm.Config{TCTI: p.TCTI(), Dir: t.TempDir()})
}

func create(t *testing.T, s keys.Store, name string) crypto.Signer {
	t.Helper()
	key, err := s.Create(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func verify(t *testing.T, key crypto.Signer) {
	t.Helper()
	if err := keystest.Verify(key); err != nil {
		t.Error(err)
	}
}

// verify1 has the key make one signature.
func verify1(t testing.TB, key crypto.Signer) {
	t.Helper()
	digest := make([]byte, 32)
	signature, err := key.Sign(rand.Reader, digest, crypto.SHA256)
	if err == nil {
		err = keystest.CheckSignature(key.Public(), digest, signature, crypto.SHA256)
	}
	if err != nil {
		t.Error(err)
	}
}

func wantEmpty(t *testing.T, p *tpmtest.TPM, after string) {
	t.Helper()
	if n := p.Handles(); n != 0 {
		t.Errorf("%d objects stay in the TPM after %s", n, after)
	}
}

func TestStoreKeepsTheContract(t *testing.T) {
	for _, a := range keys.Algorithms {
		t.Run(string(a), func(t *testing.T) {
			t.Parallel()
			p := tpmtest.Start(t)
			keystest.Suite(t, a, func(t *testing.T) keystest.Place {
				dir := t.TempDir()
				return func(t *testing.T) keys.Store {
					return open(t, tpm.Config{TCTI: p.TCTI(), Dir: dir, Algorithm: a})
				}
			}, offline)
			wantEmpty(t, p, "the suite")
		})
	}
}

func TestSignaturesDoNotDeriveTheRootKey(t *testing.T) {
	p := tpmtest.Start(t)
	key := create(t, store(t, p), "device-g1")
	before, all := p.Count(tpm2.TPMCCCreatePrimary), p.Count(tpmtest.Any)
	const signatures = 3
	for range signatures {
		if _, err := key.Sign(rand.Reader, make([]byte, 32), crypto.SHA256); err != nil {
			t.Fatal(err)
		}
	}
	if n := p.Count(tpm2.TPMCCCreatePrimary) - before; n != 0 {
		t.Errorf("the root key was derived %d times", n)
	}
	if n := p.Count(tpmtest.Any) - all; n != 3*signatures {
		t.Errorf("%d commands for %d signatures, want load, sign and flush for each", n, signatures)
	}
}

func TestNothingStaysLoadedAfterAFailure(t *testing.T) {
	p := tpmtest.Start(t)
	s := store(t, p)
	key := create(t, s, "device-g1")
	for _, command := range []tpm2.TPMCC{tpm2.TPMCCTestParms, tpm2.TPMCCCreatePrimary, tpm2.TPMCCCreate, tpm2.TPMCCLoad,
		tpm2.TPMCCContextSave, tpm2.TPMCCSign} {
		p.Refuse(command, 0, 1, tpm2.TPMRCAuthFail)
		if _, err := s.Create(t.Context(), "device-g2"); fault.Of(err) != fault.Operator || fault.Hint(err) == "" {
			t.Errorf("refused command %#x: %v (%v, hint %q)", command, err, fault.Of(err), fault.Hint(err))
		}
		wantEmpty(t, p, "a failed creation")
	}
	p.Refuse(tpm2.TPMCCSign, 0, 1, tpm2.TPMRCAuthFail)
	if _, err := key.Sign(rand.Reader, make([]byte, 32), crypto.SHA256); err == nil {
		t.Error("a refused signature went through")
	}
	wantEmpty(t, p, "a failed signature")
	if names, err := s.Names(t.Context()); err != nil || !slices.Equal(names, []string{"device-g1"}) {
		t.Errorf("names %q, %v", names, err)
	}
}

func TestNothingStaysLoadedAfterACancelledContext(t *testing.T) {
	p := tpmtest.Start(t)
	s := store(t, p)
	for pass := range 12 {
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		p.Alter(func(tpm2.TPMCC, []byte) {
			if n++; n > pass {
				cancel()
			}
		})
		key, err := s.Create(ctx, "device-g1")
		cancel()
		p.Alter(nil)
		if err == nil {
			if pass < 5 {
				t.Fatalf("created after %d commands", pass)
			}
			verify(t, key)
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled after %d commands: %v", pass, err)
		}
		wantEmpty(t, p, "a cancelled creation")
	}
}

func TestTwoProgramsShareOneTPM(t *testing.T) {
	p := tpmtest.Start(t)
	var wg sync.WaitGroup
	for range 2 {
		s := store(t, p)
		wg.Go(func() {
			key, err := s.Create(t.Context(), "device-g1")
			if err != nil {
				t.Error(err)
				return
			}
			for range 20 {
				verify(t, key)
			}
		})
	}
	wg.Wait()
	wantEmpty(t, p, "two programs")
}

func TestWaitingForTheTPMEndsWithTheContext(t *testing.T) {
	p := tpmtest.Start(t)
	s := store(t, p)
	key := create(t, s, "device-g1")
	begun, answer := make(chan struct{}), make(chan struct{})
	p.Alter(func(command tpm2.TPMCC, _ []byte) {
		if command == tpm2.TPMCCSign {
			close(begun)
			<-answer
		}
	})
	signed := make(chan error, 1)
	go func() {
		_, err := key.Sign(rand.Reader, make([]byte, 32), crypto.SHA256)
		signed <- err
		close(signed)
	}()
	select {
	case <-begun:
	case err := <-signed:
		t.Fatalf("signed without the TPM: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := s.Create(ctx, "device-g2"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("create while the TPM signs: %v", err)
	}
	close(answer)
	if err := <-signed; err != nil {
		t.Error(err)
	}
}

func TestInspectionNamesThePlaceAndTheRefusal(t *testing.T) {
	p := tpmtest.Start(t)
	s := store(t, p)
	create(t, s, "device-g1")
	facts, err := s.Inspect(t.Context(), "device-g1")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"fixedTPM", "fixedParent", "sensitiveDataOrigin", "userWithAuth", "noDA", "sign"}
	if !slices.Equal(facts.Attributes, want) {
		t.Errorf("attributes %q, want %q", facts.Attributes, want)
	}
	if !strings.HasPrefix(facts.Place, "TPM 2.0 (IBM, firmware ") || !strings.HasSuffix(facts.Place, "under the storage root key") {
		t.Errorf("place %q", facts.Place)
	}
	if !strings.HasPrefix(facts.Export, "TPM2_Duplicate: TPM_RC_") || !facts.Refused {
		t.Errorf("export %q, refused %v", facts.Export, facts.Refused)
	}
	t.Log(facts)
	wantEmpty(t, p, "an inspection")
}
