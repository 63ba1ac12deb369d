package tpm_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/durable"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
	"github.com/devid-agent/devid-agent/tpm"
	"github.com/devid-agent/devid-agent/tpm/tpmtest"
)

const firstHandle = 0x81008000

// keyFile is a TSS2 PRIVATE KEY file of the parts of a key under a storage root key.
func keyFile(t *testing.T, rsaParent bool, public, private []byte) []byte {
	t.Helper()
	der, err := asn1.Marshal(struct {
		Type      asn1.ObjectIdentifier
		EmptyAuth bool `asn1:"explicit,tag:0"`
		RSAParent bool `asn1:"explicit,tag:5,optional"`
		Parent    int64
		Public    []byte
		Private   []byte
	}{asn1.ObjectIdentifier{2, 23, 133, 10, 1, 3}, true, rsaParent, 0x40000001, public, private})
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "TSS2 PRIVATE KEY", Bytes: der})
}

func TestPersistentKeysKeepTheContract(t *testing.T) {
	p := tpmtest.Start(t)
	keystest.Suite(t, keys.ECDSAP256, func(t *testing.T) keystest.Place {
		dir := t.TempDir()
		t.Cleanup(p.Clear) // swtpm has room for a few persistent objects only
		return func(t *testing.T) keys.Store {
			return open(t, tpm.Config{TCTI: p.TCTI(), Dir: dir, Persistent: firstHandle})
		}
	}, offline)
	wantEmpty(t, p, "the suite")
}

func TestPersistentKeySignsWithOneCommandAndLeavesWithItsFile(t *testing.T) {
	p := tpmtest.Start(t)
	s := open(t, tpm.Config{TCTI: p.TCTI(), Dir: t.TempDir(), Persistent: firstHandle})
	key, other := create(t, s, "device-g1"), create(t, s, "device-g2")
	if got := p.Persistent(); !slices.Equal(got, []uint32{firstHandle, firstHandle + 1}) {
		t.Fatalf("persistent handles %#x", got)
	}
	before := p.Count(tpmtest.Any)
	verify1(t, key)
	if n := p.Count(tpmtest.Any) - before; n != 1 {
		t.Errorf("%d commands for a signature", n)
	}
	if facts, err := s.Inspect(t.Context(), "device-g2"); err != nil || !strings.HasSuffix(facts.Place, "and at 0x81008001") {
		t.Errorf("place %q, %v", facts.Place, err)
	}
	if err := s.Delete(t.Context(), "device-g1"); err != nil {
		t.Fatal(err)
	}
	if got := p.Persistent(); !slices.Equal(got, []uint32{firstHandle + 1}) {
		t.Errorf("persistent handles after the deletion %#x", got)
	}
	verify(t, other)
}

func TestReopenedPersistentKeyStaysAtItsOneHandle(t *testing.T) {
	p := tpmtest.Start(t)
	dir := t.TempDir()
	c := tpm.Config{TCTI: p.TCTI(), Dir: dir, Persistent: firstHandle}
	create(t, open(t, tpm.Config{TCTI: p.TCTI(), Dir: dir}), "device-g1") // by a configuration without handles
	for range 3 {
		key, err := open(t, c).Open(t.Context(), "device-g1")
		if err != nil {
			t.Fatal(err)
		}
		verify1(t, key)
		if got := p.Persistent(); !slices.Equal(got, []uint32{firstHandle}) {
			t.Fatalf("persistent handles %#x", got)
		}
	}
}

func TestPersistentKeyThatWasEvictedOrReplacedSignsFromItsFile(t *testing.T) {
	requireTools(t)
	p := tpmtest.Start(t)
	key := create(t, open(t, tpm.Config{TCTI: p.TCTI(), Dir: t.TempDir(), Persistent: firstHandle}), "device-g1")
	dir := t.TempDir()
	run(t, p, dir, "tpm2_evictcontrol", "-Q", "-C", "o", "-c", "0x81008000")
	run(t, p, dir, "tpm2_createprimary", "-Q", "-C", "o", "-G", "ecc256:ecdsa", "-c", "other.ctx",
		"-a", "sign|fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda")
	run(t, p, dir, "tpm2_evictcontrol", "-Q", "-C", "o", "-c", "other.ctx", "0x81008000")
	run(t, p, dir, "tpm2_flushcontext", "-t")
	verify(t, key)
	run(t, p, dir, "tpm2_evictcontrol", "-Q", "-C", "o", "-c", "0x81008000")
	verify(t, key)
	wantEmpty(t, p, "signing")
}

func TestPowerCutWithPersistentKeysLeavesNoOrphan(t *testing.T) {
	p := tpmtest.Start(t)
	for cut := range 40 {
		dir, steps := t.TempDir(), 0
		c := tpm.Config{TCTI: p.TCTI(), Dir: dir, Persistent: firstHandle}
		cutting := c
		cutting.Step = durable.Step(func(string, string) error {
			if steps++; steps > cut {
				return io.ErrUnexpectedEOF
			}
			return nil
		})
		s := open(t, cutting)
		_, created := s.Create(t.Context(), "device-g1")
		deleted := created
		if created == nil {
			deleted = s.Delete(t.Context(), "device-g1")
		}
		s = open(t, c)
		if key, err := s.Open(t.Context(), "device-g1"); err == nil {
			verify1(t, key)
		} else if !errors.Is(err, keys.ErrNotFound) {
			t.Errorf("cut at step %d: %v", cut, err)
		}
		if err := s.Delete(t.Context(), "device-g1"); err != nil {
			t.Errorf("cut at step %d: %v", cut, err)
		}
		if left := p.Persistent(); len(left) != 0 {
			t.Fatalf("cut at step %d: %#x stay in the TPM", cut, left)
		}
		if created == nil && deleted == nil {
			return
		}
	}
	t.Error("create and delete never end")
}

func TestFullPersistentMemoryIsSaidWithTheRemedy(t *testing.T) {
	p := tpmtest.Start(t)
	dir := t.TempDir()
	s := open(t, tpm.Config{TCTI: p.TCTI(), Dir: dir, Persistent: firstHandle})
	var err error
	made := 0
	for ; err == nil && made < 32; made++ {
		_, err = s.Create(t.Context(), "device-g"+strings.Repeat("i", made+1))
	}
	if fault.Of(err) != fault.Operator || !strings.Contains(fault.Hint(err), "tpm2_evictcontrol") {
		t.Errorf("after %d keys: %v (%v, hint %q)", made, err, fault.Of(err), fault.Hint(err))
	}
	if names, err := s.Names(t.Context()); err != nil || len(names) != made-1 {
		t.Errorf("%d keys of %d are left: %v", len(names), made-1, err)
	}
	t.Logf("room for %d keys: %v", made-1, err)
	verify(t, create(t, open(t, tpm.Config{TCTI: p.TCTI(), Dir: dir}), "device-as-a-file"))
	wantEmpty(t, p, "a full memory")
}

func TestFactoryKeyAtAHandleIsAdopted(t *testing.T) {
	requireTools(t)
	for password, file := range map[string]string{"": "", canary: credential(t, canary)} {
		for _, attributes := range []string{"sign", "sign|noda"} {
			for _, algorithm := range []string{"ecc256", "rsa2048:null:null", "rsa2048:rsassa-sha256:null"} {
				p := tpmtest.Start(t)
				dir := t.TempDir()
				run(t, p, dir, "tpm2_createprimary", "-Q", "-C", "e", "-G", algorithm, "-p", password, "-c", "key.ctx",
					"-a", attributes+"|fixedtpm|fixedparent|sensitivedataorigin|userwithauth")
				run(t, p, dir, "tpm2_evictcontrol", "-Q", "-C", "o", "-c", "key.ctx", "0x81010001")
				run(t, p, dir, "tpm2_flushcontext", "-t")
				key, err := open(t, tpm.Config{TCTI: p.TCTI(), Dir: t.TempDir(), KeyAuthFile: file}).LoadHandle(t.Context(), "handle:0x81010001")
				if err != nil {
					t.Errorf("%s, %s, password %q: %v", algorithm, attributes, password, err)
					continue
				}
				verify1(t, key)
				p.Restart()
				verify1(t, key)
			}
		}
	}
}

func TestFactoryKeyWithAPasswordCostsNoTriesBeyondOne(t *testing.T) {
	requireTools(t)
	p := tpmtest.Start(t)
	p.Patience(8, 3600e9)
	dir := t.TempDir()
	run(t, p, dir, "tpm2_createprimary", "-Q", "-C", "o", "-G", "ecc256", "-p", canary, "-c", "key.ctx",
		"-a", "sign|fixedtpm|fixedparent|sensitivedataorigin|userwithauth")
	run(t, p, dir, "tpm2_evictcontrol", "-Q", "-C", "o", "-c", "key.ctx", "0x81010001")
	run(t, p, dir, "tpm2_flushcontext", "-t")
	s := store(t, p)
	for range 5 {
		if _, err := s.LoadHandle(t.Context(), "handle:0x81010001"); fault.Of(err) != fault.Operator || fault.Hint(err) == "" {
			t.Errorf("%v (%v, hint %q)", err, fault.Of(err), fault.Hint(err))
		}
	}
	if n := p.Tries(); n != 1 {
		t.Errorf("%d tries were spent", n)
	}
}

func TestHandleThatIsNoSigningKeySaysWhy(t *testing.T) {
	requireTools(t)
	p := tpmtest.Start(t)
	provision(t, p, "ecc")
	s := store(t, p)
	for name, why := range map[string]string{"handle:0x81000001": "does not sign", "handle:0x81000002": "nothing lies there",
		"0x81000001": "not a persistent handle", "handle:0x80000000": "not a persistent handle", "handle:x": "not a persistent handle"} {
		_, err := s.LoadHandle(t.Context(), name)
		if fault.Of(err) != fault.Operator || fault.Hint(err) == "" || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v (%v, hint %q)", name, err, fault.Of(err), fault.Hint(err))
		}
	}
	for _, h := range []uint32{1, 0x81000001, 0x81800000, 0x80000000} {
		if _, err := tpm.Open(tpm.Config{Dir: t.TempDir(), Persistent: h}); fault.Of(err) != fault.Operator {
			t.Errorf("first handle %#x: %v", h, err)
		}
	}
}

// parts takes a key file apart with openssl, for tools that want its parts.
const parts = `set -e
set -- $(openssl asn1parse -in device-g1.tss2.pem | sed -n 's/^ *\([0-9]*\):.*OCTET STRING.*/\1/p')
openssl asn1parse -in device-g1.tss2.pem -noout -strparse $1 -out key.pub
openssl asn1parse -in device-g1.tss2.pem -noout -strparse $2 -out key.priv`

func TestToolsSignWithOurKeyFiles(t *testing.T) {
	requireTools(t)
	p := tpmtest.Start(t)
	for _, a := range keys.Algorithms {
		dir := t.TempDir()
		key := create(t, open(t, tpm.Config{TCTI: p.TCTI(), Dir: dir, Algorithm: a}), "device-g1")
		digest := bytes.Repeat([]byte{7}, 32)
		write(t, filepath.Join(dir, "digest"), digest)
		scheme := "ecdsa"
		if strings.HasPrefix(string(a), "rsa") {
			scheme = "rsassa"
		}
		run(t, p, dir, "sh", "-c", parts)
		run(t, p, dir, "tpm2_createprimary", "-Q", "-C", "o", "-G", "ecc", "-c", "srk.ctx",
			"-a", "restricted|decrypt|fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda")
		run(t, p, dir, "tpm2_flushcontext", "-t")
		run(t, p, dir, "tpm2_load", "-Q", "-C", "srk.ctx", "-u", "key.pub", "-r", "key.priv", "-c", "key.ctx")
		run(t, p, dir, "tpm2_flushcontext", "-t")
		run(t, p, dir, "tpm2_sign", "-Q", "-c", "key.ctx", "-d", "-g", "sha256", "-s", scheme, "-f", "plain", "-o", "signature", "digest")
		run(t, p, dir, "tpm2_flushcontext", "-t")
		if err := keystest.CheckSignature(key.Public(), digest, read(t, filepath.Join(dir, "signature")), crypto.SHA256); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
}

func TestToolsSignWithOurPersistentKey(t *testing.T) {
	requireTools(t)
	p := tpmtest.Start(t)
	dir := t.TempDir()
	key := create(t, open(t, tpm.Config{TCTI: p.TCTI(), Dir: dir, Persistent: firstHandle}), "device-g1")
	digest := bytes.Repeat([]byte{7}, 32)
	write(t, filepath.Join(dir, "digest"), digest)
	run(t, p, dir, "tpm2_sign", "-Q", "-c", "0x81008000", "-d", "-g", "sha256", "-s", "ecdsa", "-f", "plain", "-o", "signature", "digest")
	if err := keystest.CheckSignature(key.Public(), digest, read(t, filepath.Join(dir, "signature")), crypto.SHA256); err != nil {
		t.Error(err)
	}
}

func TestEvictedFactoryKeyIsAnErrorInWords(t *testing.T) {
	requireTools(t)
	p := tpmtest.Start(t)
	dir := t.TempDir()
	run(t, p, dir, "tpm2_createprimary", "-Q", "-C", "o", "-G", "ecc256", "-c", "key.ctx", "-a", "sign|noda|fixedtpm|fixedparent|sensitivedataorigin|userwithauth")
	run(t, p, dir, "tpm2_evictcontrol", "-Q", "-C", "o", "-c", "key.ctx", "0x81010001")
	run(t, p, dir, "tpm2_flushcontext", "-t")
	key, err := store(t, p).LoadHandle(t.Context(), "handle:0x81010001")
	if err != nil {
		t.Fatal(err)
	}
	run(t, p, dir, "tpm2_evictcontrol", "-Q", "-C", "o", "-c", "0x81010001")
	_, err = key.Sign(rand.Reader, make([]byte, 32), crypto.SHA256)
	if fault.Of(err) != fault.Operator || !errors.Is(err, tpm2.TPMRCHandle) {
		t.Errorf("%v (%v, hint %q)", err, fault.Of(err), fault.Hint(err))
	}
}
