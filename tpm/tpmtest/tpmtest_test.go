package tpmtest

import (
	"crypto"
	"crypto/rsa"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
)

func TestToolsReachTheTPMByItsTCTI(t *testing.T) {
	p := Start(t)
	cmd := exec.Command("tpm2_getrandom", "--hex", "8")
	cmd.Env = append(os.Environ(), "TPM2TOOLS_TCTI="+p.TCTI())
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("apt-get install tpm2-tools")
	}
	if err != nil || len(out) != 16 {
		t.Errorf("tpm2_getrandom: %v: %q", err, out)
	}
}

func TestFilledTPMHasNoRoomAndARestartEmptiesIt(t *testing.T) {
	p := Start(t)
	p.Fill()
	if _, err := p.primary(nil); !errors.Is(err, tpm2.TPMRCObjectMemory) {
		t.Errorf("one more object: %v, want TPM_RC_OBJECT_MEMORY", err)
	}
	if p.Handles() != 3 {
		t.Errorf("%d objects, want 3", p.Handles())
	}
	p.Restart()
	if p.Handles() != 0 {
		t.Errorf("%d objects after a restart", p.Handles())
	}
}

func TestLockedTPMRefusesEvenTheRightPassword(t *testing.T) {
	p := Start(t)
	p.Lock()
	key, err := p.primary([]byte("wrong"))
	if err != nil {
		t.Fatal(err)
	}
	if err := guess(p, key); !errors.Is(err, tpm2.TPMRCLockout) {
		t.Errorf("the right password: %v, want TPM_RC_LOCKOUT", err)
	}
}

func TestSlowTPMTakesItsTime(t *testing.T) {
	p := Start(t)
	key, err := p.primary([]byte("wrong"))
	if err != nil {
		t.Fatal(err)
	}
	_ = guess(p, key)
	p.Slow(50 * time.Millisecond)
	start := time.Now()
	if err := guess(p.Relayed(), key); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < 50*time.Millisecond {
		t.Errorf("a signature took %v", took)
	}
	if p.Count(tpm2.TPMCCSign) != 1 {
		t.Errorf("counted %d signatures", p.Count(tpm2.TPMCCSign))
	}
}

func TestKilledTPMAnswersNobody(t *testing.T) {
	p := Start(t)
	p.Kill()
	if _, err := p.Send(refuse(0)); err == nil {
		t.Error("it answered")
	}
	p.Restart()
	if p.Handles() != 0 {
		t.Error("a restarted TPM holds objects")
	}
}

func TestLongSaltIsWhatTLSRefuses(t *testing.T) {
	p := Start(t)
	p.LongSalt()
	root, err := tpm2.CreatePrimary{PrimaryHandle: empty(tpm2.TPMRHOwner), InPublic: tpm2.New2B(tpm2.ECCSRKTemplate)}.Execute(p.Relayed())
	if err != nil {
		t.Fatal(err)
	}
	parent := tpm2.AuthHandle{Handle: root.ObjectHandle, Name: root.Name, Auth: tpm2.PasswordAuth(nil)}
	made, err := tpm2.Create{ParentHandle: parent, InPublic: tpm2.New2B(tpm2.TPMTPublic{Type: tpm2.TPMAlgRSA, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{SensitiveDataOrigin: true, UserWithAuth: true, SignEncrypt: true, NoDA: true},
		Parameters:       tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{KeyBits: 2048})})}.Execute(p.Relayed())
	if err != nil {
		t.Fatal(err)
	}
	key, err := tpm2.Load{ParentHandle: parent, InPublic: made.OutPublic, InPrivate: made.OutPrivate}.Execute(p.Relayed())
	if err != nil {
		t.Fatal(err)
	}
	digest := make([]byte, 32)
	answer, err := tpm2.Sign{KeyHandle: tpm2.AuthHandle{Handle: key.ObjectHandle, Name: key.Name, Auth: tpm2.PasswordAuth(nil)},
		Digest: tpm2.TPM2BDigest{Buffer: digest},
		InScheme: tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgRSAPSS,
			Details: tpm2.NewTPMUSigScheme(tpm2.TPMAlgRSAPSS, &tpm2.TPMSSchemeHash{HashAlg: tpm2.TPMAlgSHA256})},
		Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck, Hierarchy: tpm2.TPMRHNull}}.Execute(p.Relayed())
	if err != nil {
		t.Fatal(err)
	}
	signature, err := answer.Signature.Signature.RSAPSS()
	if err != nil {
		t.Fatal(err)
	}
	area, err := made.OutPublic.Contents()
	if err != nil {
		t.Fatal(err)
	}
	public, err := tpm2.Pub(*area)
	if err != nil {
		t.Fatal(err)
	}
	for salt, good := range map[int]bool{222: true, 32: false} {
		err := rsa.VerifyPSS(public.(*rsa.PublicKey), crypto.SHA256, digest, signature.Sig.Buffer, &rsa.PSSOptions{SaltLength: salt})
		if (err == nil) != good {
			t.Errorf("salt %d: %v", salt, err)
		}
	}
}
