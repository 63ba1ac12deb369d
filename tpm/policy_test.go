package tpm_test

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
	"github.com/devid-agent/devid-agent/tpm"
	"github.com/devid-agent/devid-agent/tpm/tpmtest"
)

// vendor signs operating system updates.
type vendor struct {
	key crypto.Signer
	pcr tpm.PCR
}

func newVendor(t *testing.T, a keys.Algorithm, pcrs ...int) *vendor {
	t.Helper()
	key, err := keystest.Generate(a)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return &vendor{key, tpm.PCR{PCRs: pcrs, Signature: filepath.Join(dir, "signature.json"),
		PolicyKey: write(t, filepath.Join(dir, "policy.pem"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))}}
}

// approve adds the present values to the signature file, as an update that was tried in the vendor's lab brings them.
func (v *vendor) approve(t *testing.T, p *tpmtest.TPM) {
	t.Helper()
	file, err := os.ReadFile(v.pcr.Signature)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	values := map[int][]byte{}
	for _, n := range v.pcr.PCRs {
		values[n] = p.PCR(n)
	}
	file, err = tpm.ApprovePCRs(file, v.key, v.pcr, values)
	if err != nil {
		t.Fatal(err)
	}
	write(t, v.pcr.Signature, file)
}

// wantUnapproved fails unless err says that the device runs what nobody has approved.
func wantUnapproved(t *testing.T, err error) {
	t.Helper()
	if fault.Of(err) != fault.Operator || !strings.Contains(fault.Hint(err), "install the policy signature") {
		t.Errorf("%v (%v, hint %q)", err, fault.Of(err), fault.Hint(err))
	}
}

func TestKeyTiedToPCRsIsRefusedAfterAChangeAndHealedByASignedUpdate(t *testing.T) {
	for _, a := range []keys.Algorithm{keys.RSA2048, keys.ECDSAP256} {
		p, v := tpmtest.Start(t), newVendor(t, a, 11, 7)
		c := tpm.Config{TCTI: p.TCTI(), Dir: t.TempDir(), PCR: v.pcr}
		s := open(t, c)
		_, err := s.Create(t.Context(), "device-g1")
		wantUnapproved(t, err) // no key that never works
		v.approve(t, p)
		key := create(t, s, "device-g1")
		verify(t, key)

		p.Extend(7, "an update that nobody signed")
		_, err = key.Sign(rand.Reader, make([]byte, 32), crypto.SHA256)
		wantUnapproved(t, err)
		_, err = open(t, c).Open(t.Context(), "device-g1")
		wantUnapproved(t, err)

		v.approve(t, p)
		verify(t, key) // without a restart
		key, err = open(t, c).Open(t.Context(), "device-g1")
		if err != nil {
			t.Fatal(err)
		}
		verify(t, key)
		p.Restart() // PCRs are zero again: the system before the update, which stays approved
		verify(t, key)
		wantEmpty(t, p, "a policy")
		wantNoSessions(t, p)
	}
}

func TestApprovalIsVerifiedOncePerSetOfValues(t *testing.T) {
	p, v := tpmtest.Start(t), newVendor(t, keys.RSA2048, 7)
	v.approve(t, p)
	key := create(t, open(t, tpm.Config{TCTI: p.TCTI(), Dir: t.TempDir(), PCR: v.pcr}), "device-g1")
	for range 3 {
		verify1(t, key)
	}
	if n := p.Count(tpm2.TPMCCVerifySignature); n != 1 {
		t.Errorf("the TPM verified %d signatures of the vendor", n)
	}
	p.Extend(7, "an update")
	v.approve(t, p)
	verify1(t, key)
	if n := p.Count(tpm2.TPMCCVerifySignature); n != 2 {
		t.Errorf("the TPM verified %d signatures of the vendor after an update", n)
	}
}

func wantNoSessions(t *testing.T, p *tpmtest.TPM) {
	t.Helper()
	if n := p.Sessions(); n != 0 {
		t.Errorf("%d sessions stay in the TPM", n)
	}
}

func TestApprovalByAnotherKeyOpensNothing(t *testing.T) {
	p, v := tpmtest.Start(t), newVendor(t, keys.RSA2048, 7)
	c := tpm.Config{TCTI: p.TCTI(), Dir: t.TempDir(), PCR: v.pcr}
	v.approve(t, p)
	create(t, open(t, c), "device-g1")
	thief := newVendor(t, keys.RSA2048, 7)
	thief.approve(t, p)
	write(t, v.pcr.Signature, read(t, thief.pcr.Signature))
	_, err := open(t, c).Open(t.Context(), "device-g1")
	wantUnapproved(t, err)
	c.PCR = thief.pcr
	if _, err := open(t, c).Open(t.Context(), "device-g1"); fault.Of(err) != fault.Operator || !strings.Contains(err.Error(), "another policy key") {
		t.Errorf("with the thief's policy key: %v (%v)", err, fault.Of(err))
	}
	c.PCR = tpm.PCR{}
	if _, err := open(t, c).Open(t.Context(), "device-g1"); fault.Of(err) != fault.Operator || !strings.Contains(fault.Hint(err), "keys.pcr") {
		t.Errorf("without a policy: %v (%v)", err, fault.Of(err))
	}
}

func TestKeyTiedToPCRsHasNoOtherWayIn(t *testing.T) {
	p, v := tpmtest.Start(t), newVendor(t, keys.RSA2048, 7)
	v.approve(t, p)
	s := open(t, tpm.Config{TCTI: p.TCTI(), Dir: t.TempDir(), PCR: v.pcr, Algorithm: keys.RSA2048, PadHere: true})
	verify(t, create(t, s, "device-g1"))
	facts, err := s.Inspect(t.Context(), "device-g1")
	if err != nil || slices.Contains(facts.Attributes, "userWithAuth") || !facts.Refused {
		t.Errorf("%+v, %v", facts, err)
	}
}

func TestApprovalMadeWithToolsIsTheSame(t *testing.T) {
	requireTools(t)
	p, v := tpmtest.Start(t), newVendor(t, keys.RSA2048, 7, 11)
	p.Extend(11, "a unified kernel image")
	dir := t.TempDir()
	der, err := x509.MarshalPKCS8PrivateKey(v.key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	run(t, p, dir, "tpm2_createpolicy", "-Q", "--policy-pcr", "-l", "sha256:7,11", "-L", "pol")
	run(t, p, dir, "openssl", "dgst", "-sha256", "-sign", "key.pem", "-out", "sig", "pol")
	run(t, p, dir, "sh", "-c", `printf '{"sha256":[{"pcrs":[7,11],"pol":"%s","sig":"%s"}]}' $(od -An -tx1 pol | tr -d ' \n') $(base64 -w 0 sig) > signature.json`)
	byTools := v.pcr
	byTools.Signature = filepath.Join(dir, "signature.json")
	key := create(t, open(t, tpm.Config{TCTI: p.TCTI(), Dir: t.TempDir(), PCR: byTools}), "device-g1")
	verify(t, key)
	v.approve(t, p)
	if pol := fmt.Sprintf("%x", read(t, filepath.Join(dir, "pol"))); !strings.Contains(string(read(t, v.pcr.Signature)), pol) {
		t.Errorf("tpm2_createpolicy says %s, and we say %s", pol, read(t, v.pcr.Signature))
	}
}

func TestToolsFulfilThePolicyOfOurKey(t *testing.T) {
	requireTools(t)
	p, v := tpmtest.Start(t), newVendor(t, keys.RSA2048, 7)
	v.approve(t, p)
	dir := t.TempDir()
	key := create(t, open(t, tpm.Config{TCTI: p.TCTI(), Dir: dir, PCR: v.pcr, Persistent: firstHandle}), "device-g1")
	run(t, p, dir, "tpm2_createpolicy", "-Q", "--policy-pcr", "-l", "sha256:7", "-L", "pol")
	pol := read(t, filepath.Join(dir, "pol"))
	digest := crypto.SHA256.New()
	digest.Write(pol)
	signature, err := v.key.Sign(rand.Reader, digest.Sum(nil), crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "sig"), signature)
	write(t, filepath.Join(dir, "digest"), make([]byte, 32))
	run(t, p, dir, "tpm2_loadexternal", "-Q", "-C", "o", "-G", "rsa", "-u", v.pcr.PolicyKey, "-c", "who.ctx", "-n", "who.name")
	run(t, p, dir, "tpm2_verifysignature", "-Q", "-c", "who.ctx", "-g", "sha256", "-f", "rsassa", "-m", "pol", "-s", "sig", "-t", "ticket")
	run(t, p, dir, "tpm2_flushcontext", "-t")
	run(t, p, dir, "tpm2_startauthsession", "--policy-session", "-S", "session")
	run(t, p, dir, "tpm2_policypcr", "-Q", "-S", "session", "-l", "sha256:7")
	run(t, p, dir, "tpm2_policyauthorize", "-S", "session", "-i", "pol", "-n", "who.name", "-t", "ticket")
	run(t, p, dir, "tpm2_sign", "-Q", "-p", "session:session", "-c", "0x81008000", "-d", "-g", "sha256", "-s", "ecdsa", "-f", "plain", "-o", "signature", "digest")
	if err := keystest.CheckSignature(key.Public(), make([]byte, 32), read(t, filepath.Join(dir, "signature")), crypto.SHA256); err != nil {
		t.Error(err)
	}
}

func TestDamagedSignatureFileIsNeverAnApproval(t *testing.T) {
	p, v := tpmtest.Start(t), newVendor(t, keys.ECDSAP256, 7)
	v.approve(t, p)
	good := read(t, v.pcr.Signature)
	c := tpm.Config{TCTI: p.TCTI(), Dir: t.TempDir(), PCR: v.pcr}
	create(t, open(t, c), "device-g1")
	for name, file := range map[string][]byte{"empty": nil, "null": []byte("null"), "truncated": good[:len(good)-9],
		"another bank": []byte(strings.Replace(string(good), "sha256", "sha1", 1)), "no signature": []byte(`{"sha256":[{"pcrs":[7],"pol":"00"}]}`)} {
		write(t, v.pcr.Signature, file)
		if _, err := open(t, c).Open(t.Context(), "device-g1"); err == nil {
			t.Errorf("%s: it opened", name)
		} else {
			wantUnapproved(t, err)
		}
	}
	wantEmpty(t, p, "bad signatures")
	wantNoSessions(t, p)
}

func TestPCRThatChangesInMidSignatureIsTriedAgainLater(t *testing.T) {
	p, v := tpmtest.Start(t), newVendor(t, keys.RSA2048, 7)
	v.approve(t, p)
	key := create(t, open(t, tpm.Config{TCTI: p.TCTI(), Dir: t.TempDir(), PCR: v.pcr}), "device-g1")
	p.Refuse(tpm2.TPMCCSign, 0, 1, tpm2.TPMRCPCRChanged)
	_, err := key.Sign(rand.Reader, make([]byte, 32), crypto.SHA256)
	if err == nil || fault.Of(err) != fault.Transient {
		t.Errorf("%v (%v)", err, fault.Of(err))
	}
	verify(t, key)
	wantNoSessions(t, p)
}

func TestPolicyThatIsNoneIsRefusedAtOpen(t *testing.T) {
	v := newVendor(t, keys.RSA2048, 7)
	bad := func(change func(*tpm.Config)) tpm.Config {
		c := tpm.Config{Dir: t.TempDir(), PCR: v.pcr}
		change(&c)
		return c
	}
	for name, c := range map[string]tpm.Config{
		"no PCRs":      bad(func(c *tpm.Config) { c.PCR.PCRs = nil }),
		"PCR 24":       bad(func(c *tpm.Config) { c.PCR.PCRs = []int{24} }),
		"bank":         bad(func(c *tpm.Config) { c.PCR.Bank = "md5" }),
		"no signature": bad(func(c *tpm.Config) { c.PCR.Signature = "" }),
		"password too": bad(func(c *tpm.Config) { c.KeyAuthFile = "/x" }),
	} {
		if _, err := tpm.Open(c); fault.Of(err) != fault.Operator {
			t.Errorf("%s: %v (%v)", name, err, fault.Of(err))
		}
	}
}
