package tpm_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/tpm"
	"github.com/devid-agent/devid-agent/tpm/tpmtest"
)

func TestClearedTPMIsRecognisedAndTakesNewKeys(t *testing.T) {
	p := tpmtest.Start(t)
	c := tpm.Config{TCTI: p.TCTI(), Dir: t.TempDir()}
	s := open(t, c)
	old := create(t, s, "device-g1")
	p.Clear()
	wantGone := func(err error) {
		t.Helper()
		if !errors.Is(err, keys.ErrGone) || fault.Of(err) != fault.Operator || fault.Hint(err) == "" {
			t.Errorf("%v (%v, hint %q)", err, fault.Of(err), fault.Hint(err))
		}
	}
	_, err := old.Sign(rand.Reader, make([]byte, 32), crypto.SHA256)
	wantGone(err)
	s = open(t, c) // as after a restart of the agent
	_, err = s.Open(t.Context(), "device-g1")
	wantGone(err)
	verify(t, create(t, s, "device-g2"))
	// The record of the new key must not make the old one look damaged.
	_, err = open(t, c).Open(t.Context(), "device-g1")
	wantGone(err)
	wantEmpty(t, p, "the clearing")
}

func TestDamagedKeyOfThisTPMIsNotGone(t *testing.T) {
	p := tpmtest.Start(t)
	dir := t.TempDir()
	create(t, open(t, tpm.Config{TCTI: p.TCTI(), Dir: dir}), "device-g1")
	file := filepath.Join(dir, "device-g1.tss2.pem")
	block, _ := pem.Decode(read(t, file))
	block.Bytes[len(block.Bytes)-1] ^= 1 // of the private area, which the parent has sealed
	write(t, file, pem.EncodeToMemory(block))
	_, err := open(t, tpm.Config{TCTI: p.TCTI(), Dir: dir}).Open(t.Context(), "device-g1")
	if errors.Is(err, keys.ErrGone) || fault.Of(err) != fault.Operator || !strings.Contains(fault.Hint(err), "the key's file is damaged") {
		t.Errorf("%v (%v, hint %q)", err, fault.Of(err), fault.Hint(err))
	}
}

func TestRecordOfTheRootKeyIsNeverInTheWay(t *testing.T) {
	p := tpmtest.Start(t)
	dir := t.TempDir()
	c := tpm.Config{TCTI: p.TCTI(), Dir: dir}
	create(t, open(t, c), "device-g1")
	record := filepath.Join(dir, "srk.json")
	whole := read(t, record)
	for name, damage := range map[string]func(){
		"missing":   func() { _ = os.Remove(record) },
		"empty":     func() { write(t, record, nil) },
		"truncated": func() { write(t, record, whole[:len(whole)/2]) },
		"null":      func() { write(t, record, []byte("null")) },
		"not hex":   func() { write(t, record, bytes.ReplaceAll(whole, []byte("000b"), []byte("zzzz"))) },
	} {
		damage()
		key, err := open(t, c).Open(t.Context(), "device-g1")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		verify1(t, key)
		if !bytes.Equal(read(t, record), whole) {
			t.Errorf("%s: the record was not made whole: %s", name, read(t, record))
		}
	}
}

func TestLookingChangesNothing(t *testing.T) {
	p := tpmtest.Start(t)
	dir := t.TempDir()
	c := tpm.Config{TCTI: p.TCTI(), Dir: dir, Persistent: 0x81008000}
	create(t, open(t, tpm.Config{TCTI: p.TCTI(), Dir: dir}), "device-g1")
	if err := os.Remove(filepath.Join(dir, "srk.json")); err != nil {
		t.Fatal(err)
	}
	s, err := tpm.Look(c)
	if err != nil {
		t.Fatal(err)
	}
	key, err := s.Open(t.Context(), "device-g1")
	if err != nil {
		t.Fatal(err)
	}
	verify1(t, key)
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 || p.Count(tpm2.TPMCCEvictControl) != 0 {
		t.Errorf("files %v, %v, %d commands to keep a key", files, err, p.Count(tpm2.TPMCCEvictControl))
	}
}
