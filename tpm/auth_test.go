package tpm_test

import (
	"crypto"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
	"github.com/devid-agent/devid-agent/tpm"
	"github.com/devid-agent/devid-agent/tpm/tpmtest"
)

const canary = "canary-7Hq2"

// credential is a file with a password, as systemd leaves one.
func credential(t *testing.T, password string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "credential")
	if err := os.WriteFile(path, []byte(password+"\n"), 0o400); err != nil {
		t.Fatal(err)
	}
	return path
}

// wantSecret fails when an error or the directory tells the password.
func wantSecret(t *testing.T, err error, dir string) {
	t.Helper()
	if err != nil && strings.Contains(err.Error()+fault.Hint(err), canary) {
		t.Errorf("the password is in %v", err)
	}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, _ error) error {
		if !d.IsDir() && strings.Contains(string(read(t, path)), canary) {
			t.Errorf("the password is in %s", path)
		}
		return nil
	})
}

func TestStoreWithPasswordsKeepsTheContract(t *testing.T) {
	p := tpmtest.Start(t)
	p.Own("of the owner")
	c := tpm.Config{TCTI: p.TCTI(), OwnerAuthFile: credential(t, "of the owner"), KeyAuthFile: credential(t, canary)}
	keystest.Suite(t, keys.ECDSAP256, func(t *testing.T) keystest.Place {
		c := c
		c.Dir = t.TempDir()
		return func(t *testing.T) keys.Store { return open(t, c) }
	}, offline)
	wantEmpty(t, p, "the suite")
}

func TestKeyPasswordIsNeverOnTheBusNorOnDisk(t *testing.T) {
	p := tpmtest.Start(t)
	p.Watch(func(command []byte) {
		if strings.Contains(string(command), canary) {
			t.Errorf("the password is in command %#x", command[6:10])
		}
	})
	dir := t.TempDir()
	s := open(t, tpm.Config{TCTI: p.TCTI(), Dir: dir, KeyAuthFile: credential(t, canary)})
	verify(t, create(t, s, "device-g1"))
	facts, err := s.Inspect(t.Context(), "device-g1")
	if err != nil || slices.Contains(facts.Attributes, "noDA") {
		t.Errorf("attributes %q, %v: a key with a password has to count wrong ones", facts.Attributes, err)
	}
	wantSecret(t, err, dir)
	wantEmpty(t, p, "signing")
}

func TestKeyWithAPasswordIsRefusedInWordsWithoutIt(t *testing.T) {
	p := tpmtest.Start(t)
	dir := t.TempDir()
	create(t, open(t, tpm.Config{TCTI: p.TCTI(), Dir: dir, KeyAuthFile: credential(t, canary)}), "device-g1")
	_, err := open(t, tpm.Config{TCTI: p.TCTI(), Dir: dir}).Open(t.Context(), "device-g1")
	if fault.Of(err) != fault.Operator || !strings.Contains(fault.Hint(err), "keys.key_auth") {
		t.Errorf("%v (%v, hint %q)", err, fault.Of(err), fault.Hint(err))
	}
	if n := p.Tries(); n != 0 {
		t.Errorf("%d wrong passwords were counted", n)
	}
}

func TestWrongPasswordIsTriedOnceAndNeverTheLastTries(t *testing.T) {
	p := tpmtest.Start(t)
	p.Patience(6, time.Hour)
	dir := t.TempDir()
	create(t, open(t, tpm.Config{TCTI: p.TCTI(), Dir: dir, KeyAuthFile: credential(t, "right")}), "device-g1")
	wrong := tpm.Config{TCTI: p.TCTI(), Dir: dir, KeyAuthFile: credential(t, canary)}
	s := open(t, wrong)
	for range 5 {
		_, err := s.Open(t.Context(), "device-g1")
		if fault.Of(err) != fault.Operator || fault.Hint(err) == "" {
			t.Errorf("%v (%v, hint %q)", err, fault.Of(err), fault.Hint(err))
		}
		wantSecret(t, err, dir)
	}
	if n := p.Tries(); n != 1 {
		t.Errorf("one store spent %d tries", n)
	}
	for range 10 { // the crash loop
		_, err := open(t, wrong).Open(t.Context(), "device-g1")
		wantSecret(t, err, dir)
	}
	if n := p.Tries(); n != 3 {
		t.Errorf("a loop of restarts spent %d of 6 tries, want half of them", n)
	}
	_, err := open(t, wrong).Open(t.Context(), "device-g1")
	soon := time.Now().Add(time.Hour).Add(time.Minute - 1)
	if at := soon.Format("15:04"); !strings.Contains(err.Error(), "safe again at") || !strings.Contains(err.Error(), at) {
		t.Errorf("%v, want the time %s", err, at)
	}
	if wait := fault.RetryAfter(err); wait != time.Hour {
		t.Errorf("try again after %v", wait)
	}
	p.Forgive()
	key, err := open(t, tpm.Config{TCTI: p.TCTI(), Dir: dir, KeyAuthFile: credential(t, "right")}).Open(t.Context(), "device-g1")
	if err != nil {
		t.Fatal(err)
	}
	verify(t, key)
	wantEmpty(t, p, "wrong passwords")
}

func TestLockoutSaysWhenItEnds(t *testing.T) {
	p := tpmtest.Start(t)
	c := tpm.Config{TCTI: p.TCTI(), Dir: t.TempDir(), KeyAuthFile: credential(t, "right")}
	key := create(t, open(t, c), "device-g1")
	p.Lock()
	_, err := key.Sign(rand.Reader, make([]byte, 32), crypto.SHA256)
	if fault.Of(err) != fault.Operator || !errors.Is(err, tpm2.TPMRCLockout) || !strings.Contains(err.Error(), "safe again at") {
		t.Errorf("%v (%v, hint %q)", err, fault.Of(err), fault.Hint(err))
	}
	if wait := fault.RetryAfter(err); wait < time.Hour || wait > 2*time.Hour {
		t.Errorf("try again after %v", wait)
	}
	p.Forgive()
	verify(t, key)
}

func TestPasswordFileThatOthersCanReadIsRefused(t *testing.T) {
	p := tpmtest.Start(t)
	for want, mend := range map[string]func(path string){
		"chmod 0400":                     func(path string) { _ = os.Chmod(path, 0o604) },
		"put it there":                   func(path string) { _ = os.Remove(path) },
		"a TPM's password has 1 to 32":   func(path string) { _ = os.Chmod(path, 0o600); write(t, path, nil) },
		"a TPM's password has 1 to 32 b": func(path string) { _ = os.Chmod(path, 0o600); write(t, path, make([]byte, 33)) },
	} {
		path := credential(t, canary)
		mend(path)
		_, err := open(t, tpm.Config{TCTI: p.TCTI(), Dir: t.TempDir(), KeyAuthFile: path}).Create(t.Context(), "device-g1")
		if fault.Of(err) != fault.Operator || !strings.HasPrefix(fault.Hint(err), want) {
			t.Errorf("want %q: %v (%v, hint %q)", want, err, fault.Of(err), fault.Hint(err))
		}
	}
	if n := p.Count(tpm2.TPMCCCreate); n != 0 {
		t.Errorf("%d keys were made", n)
	}
}

func TestOwnerPasswordIsNeededAndSaidWhere(t *testing.T) {
	p := tpmtest.Start(t)
	dir := t.TempDir()
	create(t, open(t, tpm.Config{TCTI: p.TCTI(), Dir: dir}), "device-g1")
	p.Own(canary)
	for name, file := range map[string]string{"no password": "", "a wrong one": credential(t, "wrong")} {
		s := open(t, tpm.Config{TCTI: p.TCTI(), Dir: dir, OwnerAuthFile: file})
		_, err := s.Create(t.Context(), "device-g2")
		if fault.Of(err) != fault.Operator || !strings.Contains(fault.Hint(err), "keys.owner_auth") {
			t.Errorf("%s: create: %v (%v, hint %q)", name, err, fault.Of(err), fault.Hint(err))
		}
		if _, err := s.Open(t.Context(), "device-g1"); fault.Of(err) != fault.Operator || errors.Is(err, keys.ErrGone) {
			t.Errorf("%s: open: %v (%v)", name, err, fault.Of(err))
		}
	}
	s := open(t, tpm.Config{TCTI: p.TCTI(), Dir: dir, OwnerAuthFile: credential(t, canary)})
	verify(t, create(t, s, "device-g2"))
	key, err := s.Open(t.Context(), "device-g1")
	if err != nil {
		t.Fatal(err)
	}
	verify(t, key)
	if n := p.Tries(); n != 0 {
		t.Errorf("%d wrong passwords were counted", n)
	}
	wantEmpty(t, p, "an owned TPM")
}

func TestOwnerPasswordOfAnUnownedTPMIsNotUsed(t *testing.T) {
	p := tpmtest.Start(t)
	verify(t, create(t, open(t, tpm.Config{TCTI: p.TCTI(), Dir: t.TempDir(), OwnerAuthFile: credential(t, canary)}), "device-g1"))
}
