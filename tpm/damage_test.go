package tpm_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/tpm"
	"github.com/devid-agent/devid-agent/tpm/tpmtest"
)

// A flipped bit may hit what has no meaning (the optional parts of the file's ASN.1); it must never crash us, be
// taken for absence, or give a key that is another one.
func TestDamagedKeyFileIsNeverAbsentAndNeverAnotherKey(t *testing.T) {
	p := tpmtest.Start(t)
	dir := t.TempDir()
	key := create(t, open(t, tpm.Config{TCTI: p.TCTI(), Dir: dir}), "device-g1")
	file := filepath.Join(dir, "device-g1.tss2.pem")
	block, _ := pem.Decode(read(t, file))
	for i := range block.Bytes {
		der := bytes.Clone(block.Bytes)
		der[i] ^= 1 << (i % 8)
		write(t, file, pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: der}))
		got, err := open(t, tpm.Config{TCTI: p.TCTI(), Dir: dir}).Open(t.Context(), "device-g1")
		switch {
		case err == nil && !sameKey(got, key):
			t.Errorf("byte %d damaged: another key", i)
		case errors.Is(err, keys.ErrNotFound):
			t.Errorf("byte %d damaged: %v", i, err)
		case err != nil && (fault.Of(err) != fault.Operator || fault.Hint(err) == ""):
			t.Errorf("byte %d damaged: %v (%v, hint %q)", i, err, fault.Of(err), fault.Hint(err))
		}
	}
	wantEmpty(t, p, "damaged files")
}

func TestTruncatedKeyFileIsDamaged(t *testing.T) {
	p := tpmtest.Start(t)
	dir := t.TempDir()
	create(t, open(t, tpm.Config{TCTI: p.TCTI(), Dir: dir}), "device-g1")
	file := filepath.Join(dir, "device-g1.tss2.pem")
	whole := read(t, file)
	for n := 0; n < len(whole)-1; n += 17 {
		write(t, file, whole[:n])
		_, err := open(t, tpm.Config{TCTI: p.TCTI(), Dir: dir}).Open(t.Context(), "device-g1")
		if err == nil || errors.Is(err, keys.ErrNotFound) || fault.Of(err) != fault.Operator {
			t.Errorf("cut to %d bytes: %v (%v)", n, err, fault.Of(err))
		}
	}
	if _, err := open(t, tpm.Config{TCTI: p.TCTI(), Dir: dir}).Create(t.Context(), "device-g1"); !errors.Is(err, keys.ErrExists) {
		t.Errorf("create over a damaged file: %v", err)
	}
}

func TestKeyFileWeCannotUseSaysWhy(t *testing.T) {
	p := tpmtest.Start(t)
	s := store(t, p)
	type file struct {
		Type            asn1.ObjectIdentifier
		EmptyAuth       asn1.RawValue
		Parent          int
		Public, Private []byte
	}
	loadable, sealed := asn1.ObjectIdentifier{2, 23, 133, 10, 1, 3}, asn1.ObjectIdentifier{2, 23, 133, 10, 1, 5}
	yes := asn1.RawValue{FullBytes: []byte{0xA0, 3, 1, 1, 0xFF}}
	for why, f := range map[string]file{
		"type":        {sealed, yes, 0x40000001, nil, nil},
		"parent":      {loadable, yes, 0x4000000B, nil, nil},
		"public area": {loadable, yes, 0x40000001, []byte{0, 9}, []byte{0, 0}},
	} {
		der, err := asn1.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Load(t.Context(), pem.EncodeToMemory(&pem.Block{Type: "TSS2 PRIVATE KEY", Bytes: der}))
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", why, err)
		}
	}
}

func TestFilesThatAreNotOursAreLeftAlone(t *testing.T) {
	p := tpmtest.Start(t)
	dir := t.TempDir()
	for _, name := range []string{"README", "Upper.tss2.pem", ".tss2.pem", "x.pem"} {
		write(t, filepath.Join(dir, name), []byte("not ours"))
	}
	s := open(t, tpm.Config{TCTI: p.TCTI(), Dir: dir})
	if names, err := s.Names(t.Context()); err != nil || len(names) != 0 {
		t.Errorf("names %q, %v", names, err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 4 {
		t.Errorf("files %v, %v", files, err)
	}
}

func sameKey(a, b crypto.Signer) bool {
	public, ok := a.Public().(*ecdsa.PublicKey)
	return ok && public.Equal(b.Public())
}
