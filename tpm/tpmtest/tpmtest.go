// Package tpmtest is a real implementation of the TPM 2.0, swtpm, for as long as a test: it can be slowed to the
// speed of a chip, killed, restarted, locked, and made to answer what chips answer on bad days.
package tpmtest

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// TPM is a running software TPM with a state of its own. Between it and its users stands our relay, which is
// where its temper is.
type TPM struct {
	t    testing.TB
	dir  string
	stop func() // kills the process and waits for it

	mu     sync.Mutex
	slow   time.Duration
	rules  []*rule
	alter  func(command tpm2.TPMCC, answer []byte)
	watch  func(command []byte)
	salt   *longSalt // nil for a TPM that pads as it should
	counts map[tpm2.TPMCC]int
}

// Start runs a blank TPM until the test ends.
func Start(t testing.TB) *TPM {
	t.Helper()
	requireSwtpm(t)
	// Not t.TempDir: the path of a socket has room for 107 bytes.
	dir, err := os.MkdirTemp("", "tpm")
	if err != nil {
		t.Fatal(err)
	}
	p := &TPM{t: t, dir: dir, counts: map[tpm2.TPMCC]int{}}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p.serve()
	p.Restart()
	t.Cleanup(p.Kill)
	return p
}

func requireSwtpm(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("swtpm"); err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("swtpm is missing: apt-get install swtpm")
	}
	t.Skip("apt-get install swtpm")
}

// TCTI names the TPM to this project, to tpm2-tools and to openssl.
func (p *TPM) TCTI() string { return "swtpm:path=" + p.front() }

func (p *TPM) front() string { return filepath.Join(p.dir, "tpm") }
func (p *TPM) chip() string  { return filepath.Join(p.dir, "chip") }

// Kill takes the TPM's power away in the middle of whatever it does. What lies in its persistent memory stays.
func (p *TPM) Kill() {
	if p.stop != nil {
		p.stop()
		p.stop = nil
	}
}

// Restart gives the TPM its power back, or takes it away and gives it back.
func (p *TPM) Restart() {
	p.t.Helper()
	p.Kill()
	// TSS libraries look for the control socket beside the path that the TCTI names.
	control := p.front() + ".ctrl"
	for _, stale := range []string{p.chip(), control} {
		_ = os.Remove(stale)
	}
	cmd := exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+p.dir, "--flags", "not-need-init,startup-clear",
		"--server", "type=unixio,path="+p.chip(), "--ctrl", "type=unixio,path="+control)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	p.awaitReady()
}

func (p *TPM) awaitReady() {
	p.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if c, err := net.Dial("unix", p.chip()); err == nil {
			_ = c.Close()
			return
		}
	}
	p.t.Fatal("swtpm does not listen after a minute")
}

// Handles is the number of objects that lie in the TPM's transient memory.
func (p *TPM) Handles() int {
	p.t.Helper()
	return len(p.transient())
}

func (p *TPM) transient() []tpm2.TPMHandle {
	p.t.Helper()
	answer, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: 0x80000000, PropertyCount: 64}.Execute(p)
	if err != nil {
		p.t.Fatal(err)
	}
	list, err := answer.CapabilityData.Data.Handles()
	if err != nil {
		p.t.Fatal(err)
	}
	return list.Handle
}

// Send implements go-tpm's transport, past the relay and its temper.
func (p *TPM) Send(command []byte) ([]byte, error) {
	c, err := dial(p.chip())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return ask(c, command)
}

// Fill loads objects until there is no room for one more, and leaves them there as a program that died does.
func (p *TPM) Fill() {
	p.t.Helper()
	for range 64 {
		if _, err := p.primary(nil); err != nil {
			return
		}
	}
	p.t.Fatal("the TPM does not get full")
}

// Lock brings the TPM into the lockout that follows too many wrong passwords, for an hour.
func (p *TPM) Lock() {
	p.t.Helper()
	p.Patience(1, time.Hour)
	p.Guess(4)
}

// Patience sets how many wrong passwords the TPM takes until it locks itself, and after which time it forgives one.
func (p *TPM) Patience(tries int, forgives time.Duration) {
	p.t.Helper()
	answer, err := p.Send(patience(uint32(tries), uint32(forgives/time.Second)))
	if err != nil || binary.BigEndian.Uint32(answer[6:]) != 0 {
		p.t.Fatalf("set the parameters of the lockout: % x: %v", answer, err)
	}
}

// Guess tries n wrong passwords.
func (p *TPM) Guess(n int) {
	p.t.Helper()
	key, err := p.primary([]byte("right"))
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _, _ = tpm2.FlushContext{FlushHandle: key.ObjectHandle}.Execute(p) }()
	for tried := 0; tried < n; {
		switch err := guess(p, key); {
		case errors.Is(err, tpm2.TPMRCLockout):
			return
		case !errors.Is(err, tpm2.TPMRCRetry):
			tried++
		}
	}
}

// primary makes a signing key that counts wrong passwords.
func (p *TPM) primary(password []byte) (*tpm2.CreatePrimaryResponse, error) {
	return tpm2.CreatePrimary{PrimaryHandle: empty(tpm2.TPMRHOwner),
		InSensitive: tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{UserAuth: tpm2.TPM2BAuth{Buffer: password}}},
		InPublic: tpm2.New2B(tpm2.TPMTPublic{Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
			ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, SignEncrypt: true},
			Parameters:       tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: tpm2.TPMECCNistP256})})}.Execute(p)
}

// guess signs with a password that may be wrong. The TPM answers the first use of a key that counts wrong passwords
// with TPM_RC_RETRY: it notes in persistent memory that it was asked, lest a power cut hide a wrong guess.
func guess(p transport.TPM, key *tpm2.CreatePrimaryResponse) error {
	_, err := tpm2.Sign{KeyHandle: tpm2.AuthHandle{Handle: key.ObjectHandle, Name: key.Name, Auth: tpm2.PasswordAuth([]byte("wrong"))},
		Digest: tpm2.TPM2BDigest{Buffer: make([]byte, 32)},
		InScheme: tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgECDSA,
			Details: tpm2.NewTPMUSigScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSchemeHash{HashAlg: tpm2.TPMAlgSHA256})},
		Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck, Hierarchy: tpm2.TPMRHNull}}.Execute(p)
	return err
}

func empty(h tpm2.TPMHandle) tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: h, Name: tpm2.HandleName(h), Auth: tpm2.PasswordAuth(nil)}
}

// patience is TPM2_DictionaryAttackParameters, which go-tpm does not have.
func patience(tries, seconds uint32) []byte {
	command := []byte{0x80, 0x02, 0, 0, 0, 39, 0, 0, 0x01, 0x3A, 0x40, 0, 0, 0x0A} // tag, size, code, TPM_RH_LOCKOUT
	command = append(command, 0, 0, 0, 9, 0x40, 0, 0, 0x09, 0, 0, 0, 0, 0)         // the empty password
	for _, parameter := range []uint32{tries, seconds, seconds} {
		command = binary.BigEndian.AppendUint32(command, parameter)
	}
	return command
}
