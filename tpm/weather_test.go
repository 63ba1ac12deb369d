package tpm_test

import (
	"crypto"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/durable"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/tpm"
	"github.com/devid-agent/devid-agent/tpm/tpmtest"
)

func TestRestartedTPMIsFoundAgainWithoutReopening(t *testing.T) {
	p := tpmtest.Start(t)
	key := create(t, store(t, p), "device-g1")
	p.Kill()
	digest := make([]byte, 32)
	if _, err := key.Sign(rand.Reader, digest, crypto.SHA256); err == nil || fault.Of(err) != fault.Transient {
		t.Errorf("sign without a TPM: %v (%v), want a transient error", err, fault.Of(err))
	}
	if key.Public() == nil {
		t.Error("the public key is gone with the TPM")
	}
	p.Restart()
	verify(t, key)
	p.Restart()
	verify(t, key)
	wantEmpty(t, p, "signing")
}

func TestBusyTPMIsAskedAgain(t *testing.T) {
	p := tpmtest.Start(t)
	s := store(t, p)
	for _, code := range []tpm2.TPMRC{tpm2.TPMRCRetry, tpm2.TPMRCYielded, tpm2.TPMRCTesting, tpm2.TPMRCNVRate, tpm2.TPMRCObjectMemory} {
		for _, command := range []tpm2.TPMCC{tpm2.TPMCCCreatePrimary, tpm2.TPMCCCreate, tpm2.TPMCCLoad, tpm2.TPMCCSign, tpm2.TPMCCContextSave} {
			p.Refuse(command, 0, 2, code)
		}
		verify(t, create(t, s, strings.ToLower(code.Error()[7:10])))
	}
	wantEmpty(t, p, "being busy")
}

func TestAuthorizationIsNeverTriedTwice(t *testing.T) {
	p := tpmtest.Start(t)
	key := create(t, store(t, p), "device-g1")
	before := p.Count(tpm2.TPMCCSign)
	p.Refuse(tpm2.TPMCCSign, 0, 5, tpm2.TPMRCAuthFail)
	_, err := key.Sign(rand.Reader, make([]byte, 32), crypto.SHA256)
	if fault.Of(err) != fault.Operator || p.Count(tpm2.TPMCCSign)-before != 1 {
		t.Errorf("%v (%v) after %d tries", err, fault.Of(err), p.Count(tpm2.TPMCCSign)-before)
	}
}

func TestLockoutDoesNotHinderOurKeys(t *testing.T) {
	p := tpmtest.Start(t)
	s := store(t, p)
	before := create(t, s, "device-g1")
	p.Lock()
	verify(t, before)
	verify(t, create(t, s, "device-g2"))
}

func TestKeyOfAnotherTPMIsRecognised(t *testing.T) {
	one, other := tpmtest.Start(t), tpmtest.Start(t)
	dir := t.TempDir()
	create(t, open(t, tpm.Config{TCTI: one.TCTI(), Dir: dir}), "device-g1")
	_, err := open(t, tpm.Config{TCTI: other.TCTI(), Dir: dir}).Open(t.Context(), "device-g1")
	if !errors.Is(err, keys.ErrGone) || fault.Of(err) != fault.Operator || fault.Hint(err) == "" {
		t.Errorf("%v (%v, hint %q)", err, fault.Of(err), fault.Hint(err))
	}
	wantEmpty(t, other, "a foreign key")
}

func TestTPMReplacedUnderAnOpenKeyIsRecognised(t *testing.T) {
	one, other := tpmtest.Start(t), tpmtest.Start(t)
	link := filepath.Join(t.TempDir(), "tpm")
	point := func(p *tpmtest.TPM) {
		_ = os.Remove(link)
		if err := os.Symlink(strings.TrimPrefix(p.TCTI(), "swtpm:path="), link); err != nil {
			t.Fatal(err)
		}
	}
	point(one)
	key := create(t, open(t, tpm.Config{TCTI: "swtpm:path=" + link, Dir: t.TempDir()}), "device-g1")
	point(other)
	if _, err := key.Sign(rand.Reader, make([]byte, 32), crypto.SHA256); !errors.Is(err, keys.ErrGone) {
		t.Errorf("%v (%v, hint %q)", err, fault.Of(err), fault.Hint(err))
	}
	point(one)
	verify(t, key)
}

func TestObjectsOfADeadProgramAreSwept(t *testing.T) {
	p := tpmtest.Start(t)
	key := create(t, store(t, p), "device-g1")
	p.Fill()
	verify(t, key)
	wantEmpty(t, p, "the sweep")
}

func TestSessionsOfADeadProgramAreSwept(t *testing.T) {
	p := tpmtest.Start(t)
	s := open(t, tpm.Config{TCTI: p.TCTI(), Dir: t.TempDir(), KeyAuthFile: credential(t, "right")})
	for {
		if _, _, err := tpm2.HMACSession(p, tpm2.TPMAlgSHA256, 16); err != nil {
			if !errors.Is(err, tpm2.TPMRCSessionMemory) && !errors.Is(err, tpm2.TPMRCSessionHandles) {
				t.Fatal(err)
			}
			break
		}
	}
	verify(t, create(t, s, "device-g1"))
	wantNoSessions(t, p)
}

func TestTPMWithoutRoomForSessionsIsABusyOne(t *testing.T) {
	p := tpmtest.Start(t)
	s := open(t, tpm.Config{TCTI: p.TCTI(), Dir: t.TempDir(), KeyAuthFile: credential(t, "right")})
	for _, code := range []tpm2.TPMRC{tpm2.TPMRCSessionMemory, tpm2.TPMRCSessionHandles, tpm2.TPMRCRetry} {
		p.Refuse(tpm2.TPMCCStartAuthSession, 0, 2, code)
		verify(t, create(t, s, strings.ToLower(code.Error()[7:12])+codeDigit(code)))
	}
	wantNoSessions(t, p)
}

// codeDigit tells codes apart whose names start alike.
func codeDigit(c tpm2.TPMRC) string { return string(rune('a' + c%26)) }

func TestTPMWithoutRoomForAPersistentKeyTakesNone(t *testing.T) {
	p := tpmtest.Start(t)
	dir := t.TempDir()
	s := open(t, tpm.Config{TCTI: p.TCTI(), Dir: dir, Persistent: firstHandle})
	p.Refuse(tpm2.TPMCCEvictControl, 0, 1, tpm2.TPMRCNVSpace)
	_, err := s.Create(t.Context(), "device-g1")
	if fault.Of(err) != fault.Operator || !errors.Is(err, tpm2.TPMRCNVSpace) || !strings.Contains(fault.Hint(err), "keys then lie in files") {
		t.Errorf("%v (%v, hint %q)", err, fault.Of(err), fault.Hint(err))
	}
	if names, err := s.Names(t.Context()); err != nil || len(names) != 0 {
		t.Errorf("names %q, %v", names, err)
	}
	// An older key goes on to sign from its file.
	create(t, open(t, tpm.Config{TCTI: p.TCTI(), Dir: dir}), "device-g0")
	p.Refuse(tpm2.TPMCCEvictControl, 0, 1, tpm2.TPMRCNVSpace)
	key, err := s.Open(t.Context(), "device-g0")
	if err != nil {
		t.Fatal(err)
	}
	verify1(t, key)
	wantEmpty(t, p, "no room")
}

func TestUnknownAlgorithmOfTheChipIsSaidWithTheRemedy(t *testing.T) {
	p := tpmtest.Start(t)
	p.Refuse(tpm2.TPMCCTestParms, 0, 1, tpm2.TPMRCCurve)
	s := open(t, tpm.Config{TCTI: p.TCTI(), Dir: t.TempDir(), Algorithm: keys.ECDSAP384})
	_, err := s.Create(t.Context(), "device-g1")
	if fault.Of(err) != fault.Operator || fault.Hint(err) != "set keys.algorithm: ecdsa-p256" {
		t.Errorf("%v (%v, hint %q)", err, fault.Of(err), fault.Hint(err))
	}
	if p.Count(tpm2.TPMCCCreate) != 0 {
		t.Error("the TPM was asked for the key all the same")
	}
}

func TestSignatureThatDoesNotVerifyIsNoKey(t *testing.T) {
	p := tpmtest.Start(t)
	for _, a := range []keys.Algorithm{keys.ECDSAP256, keys.RSA2048} {
		dir, signed := t.TempDir(), 0
		p.Alter(func(command tpm2.TPMCC, answer []byte) {
			if command != tpm2.TPMCCSign {
				return
			}
			if signed++; a == keys.RSA2048 && signed == 1 {
				return // PKCS #1 v1.5 is fine
			}
			answer[len(answer)-10] ^= 1
		})
		_, err := open(t, tpm.Config{TCTI: p.TCTI(), Dir: dir, Algorithm: a}).Create(t.Context(), "device-g1")
		if fault.Of(err) != fault.Operator || !strings.Contains(fault.Hint(err), "faulty") {
			t.Errorf("%s: %v (%v, hint %q)", a, err, fault.Of(err), fault.Hint(err))
		}
		if files, _ := os.ReadDir(dir); len(files) != 0 {
			t.Errorf("%s: left %v", a, files)
		}
	}
}

func TestPowerCutLeavesTheKeyOrNoKey(t *testing.T) {
	p := tpmtest.Start(t)
	for cut := range 24 {
		dir, steps := t.TempDir(), 0
		s, err := tpm.Open(tpm.Config{TCTI: p.TCTI(), Dir: dir, Step: durable.Step(func(string, string) error {
			if steps++; steps > cut {
				return io.ErrUnexpectedEOF
			}
			return nil
		})})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Create(t.Context(), "device-g1")
		if err == nil {
			if cut < 12 {
				t.Errorf("created in %d steps, want write, rename and sync with their ends, of record and key", cut)
			}
			return
		}
		s = open(t, tpm.Config{TCTI: p.TCTI(), Dir: dir})
		key, err := s.Open(t.Context(), "device-g1")
		if errors.Is(err, keys.ErrNotFound) {
			key, err = s.Create(t.Context(), "device-g1")
		}
		if err != nil {
			t.Fatalf("cut at step %d: %v", cut, err)
		}
		verify(t, key)
	}
	t.Error("Create never ends")
}
