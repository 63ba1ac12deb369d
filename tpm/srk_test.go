package tpm_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/tpm"
	"github.com/devid-agent/devid-agent/tpm/tpmtest"
)

// provision leaves a storage root key in the TPM as our own remedy tells its owner to.
func provision(t *testing.T, p *tpmtest.TPM, algorithm string) {
	t.Helper()
	dir := t.TempDir()
	run(t, p, dir, "tpm2_createprimary", "-Q", "-C", "o", "-G", algorithm, "-c", "srk.ctx",
		"-a", "restricted|decrypt|fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda")
	run(t, p, dir, "tpm2_evictcontrol", "-Q", "-C", "o", "-c", "srk.ctx", "0x81000001")
	run(t, p, dir, "tpm2_flushcontext", "-t")
}

func TestResidentRootKeyServesWhereTheOwnerHasAPassword(t *testing.T) {
	requireTools(t)
	for _, algorithm := range []string{"ecc", "rsa2048:null:aes128cfb"} {
		p := tpmtest.Start(t)
		provision(t, p, algorithm)
		p.Own(canary)
		c := tpm.Config{TCTI: p.TCTI(), Dir: t.TempDir()}
		verify(t, create(t, open(t, c), "device-g1"))
		key, err := open(t, c).Open(t.Context(), "device-g1")
		if err != nil {
			t.Fatal(err)
		}
		verify(t, key)
		wantEmpty(t, p, algorithm)
	}
}

func TestResidentRootKeySparesDerivingIt(t *testing.T) {
	requireTools(t)
	p := tpmtest.Start(t)
	c := tpm.Config{TCTI: p.TCTI(), Dir: t.TempDir()}
	create(t, open(t, c), "device-g1")
	provision(t, p, "ecc")
	before := p.Count(tpm2.TPMCCCreatePrimary)
	key, err := open(t, c).Open(t.Context(), "device-g1")
	if err != nil {
		t.Fatal(err)
	}
	verify(t, key)
	if n := p.Count(tpm2.TPMCCCreatePrimary) - before; n != 0 {
		t.Errorf("the root key was derived %d times", n)
	}
}

func TestStrangerAtTheRootKeysHandleIsNotTaken(t *testing.T) {
	requireTools(t)
	p := tpmtest.Start(t)
	dir := t.TempDir()
	run(t, p, dir, "tpm2_createprimary", "-Q", "-C", "o", "-G", "ecc384", "-c", "other.ctx")
	run(t, p, dir, "tpm2_evictcontrol", "-Q", "-C", "o", "-c", "other.ctx", "0x81000001")
	run(t, p, dir, "tpm2_flushcontext", "-t")
	c := tpm.Config{TCTI: p.TCTI(), Dir: t.TempDir()}
	verify(t, create(t, open(t, c), "device-g1"))
	p.Own(canary)
	_, err := open(t, c).Create(t.Context(), "device-g2")
	if fault.Of(err) != fault.Operator || !strings.Contains(err.Error(), "no storage root key to use instead") {
		t.Errorf("%v (%v, hint %q)", err, fault.Of(err), fault.Hint(err))
	}
}

func TestKeysUnderAnRSARootKeyAreLoaded(t *testing.T) {
	requireTools(t)
	p := tpmtest.Start(t)
	provision(t, p, "rsa2048:null:aes128cfb")
	dir := t.TempDir()
	run(t, p, dir, "tpm2_create", "-Q", "-C", "0x81000001", "-G", "ecc256:ecdsa", "-u", "key.pub", "-r", "key.priv")
	run(t, p, dir, "tpm2_encodeobject", "-C", "0x81000001", "-u", "key.pub", "-r", "key.priv", "-o", "key.pem")
	key, err := store(t, p).Load(t.Context(), read(t, filepath.Join(dir, "key.pem")))
	if err != nil {
		t.Fatal(err)
	}
	verify1(t, key)
	// The same key, in a file that says rsaParent and leaves deriving it to us.
	derived := keyFile(t, true, read(t, filepath.Join(dir, "key.pub")), read(t, filepath.Join(dir, "key.priv")))
	run(t, p, dir, "tpm2_evictcontrol", "-Q", "-C", "o", "-c", "0x81000001")
	key, err = store(t, p).Load(t.Context(), derived)
	if err != nil {
		t.Fatal(err)
	}
	verify1(t, key)
	wantEmpty(t, p, "an RSA parent")
}
