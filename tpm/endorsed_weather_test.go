package tpm_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/durable"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/tpm"
	"github.com/devid-agent/devid-agent/tpm/tpmtest"
)

func TestPowerCutDuringActivateLeavesTheKeyBeforeOrTheNewOne(t *testing.T) {
	p := tpmtest.Start(t)
	for cut := range 24 {
		c := tpm.Config{TCTI: p.TCTI(), Dir: t.TempDir()}
		before := activate(t, open(t, c))
		cutting, steps := c, 0
		cutting.Step = durable.Step(func(string, string) error {
			if steps++; steps > cut {
				return io.ErrUnexpectedEOF
			}
			return nil
		})
		s, cloud := open(t, cutting), newService()
		ek, srk := endorsement(t, s)
		err := s.Activate(t.Context(), registration, cloud.blob(t, ek, srk))
		sum, after := open(t, c).HMAC(t.Context(), registration, sasText)
		old := string(sum) == string(before.sum(sasText))
		if after != nil || !old && string(sum) != string(cloud.sum(sasText)) {
			t.Fatalf("cut at step %d: %x, %v", cut, sum, after)
		}
		if err == nil {
			if cut < 6 || old {
				t.Errorf("activated in %d steps, the key before is there: %v", cut, old)
			}
			return
		}
	}
	t.Error("Activate never ends")
}

func TestTPMInFailureModeIsNotTheServicesFault(t *testing.T) {
	p := tpmtest.Start(t)
	s := store(t, p)
	ek, srk := endorsement(t, s)
	p.Refuse(tpm2.TPMCCActivateCredential, 0, 1, tpm2.TPMRCFailure)
	p.Refuse(tpm2.TPMCCReadPublic, 2, 1, tpm2.TPMRCFailure) // after those that look for the two keys
	err := s.Activate(t.Context(), registration, newService().blob(t, ek, srk))
	if fault.Of(err) != fault.Operator || !strings.Contains(fault.Hint(err), "power-cycle") {
		t.Errorf("%v (%v, hint %q)", err, fault.Of(err), fault.Hint(err))
	}
	wantEmpty(t, p, "the failure")
	wantNoSessions(t, p)
}

func TestBusyAndFullTPMsAreWaitedForByTheCloudsKeys(t *testing.T) {
	p := tpmtest.Start(t)
	s := store(t, p)
	for _, command := range []tpm2.TPMCC{tpm2.TPMCCActivateCredential, tpm2.TPMCCImport, tpm2.TPMCCMAC, tpm2.TPMCCStartAuthSession} {
		p.Refuse(command, 0, 2, tpm2.TPMRCRetry)
	}
	cloud := activate(t, s)
	p.Fill() // by a program that died
	wantSum(t, s, cloud, sasText)
}

func TestHMACKeyWithAPasswordIsRefused(t *testing.T) {
	p := tpmtest.Start(t)
	s := store(t, p)
	p.Refuse(tpm2.TPMCCMAC, 0, 1, tpm2.TPMRCAuthFail)
	ek, srk := endorsement(t, s)
	err := s.Activate(t.Context(), registration, newService().blob(t, ek, srk))
	if fault.Of(err) != fault.Permanent || !strings.Contains(err.Error(), "has a password") {
		t.Errorf("%v (%v)", err, fault.Of(err))
	}
	if _, err := s.HMAC(t.Context(), registration, sasText); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("a refused key was kept: %v", err)
	}
}

func TestEndorsementHierarchyWithAPasswordAsksForItsRemoval(t *testing.T) {
	p := tpmtest.Start(t)
	s := store(t, p)
	p.Refuse(tpm2.TPMCCCreatePrimary, 0, 1, tpm2.TPMRCBadAuth)
	if _, _, err := s.Endorsement(t.Context()); fault.Of(err) != fault.Operator || !strings.Contains(fault.Hint(err), "tpm2_changeauth -c endorsement") {
		t.Errorf("%v (%v, hint %q)", err, fault.Of(err), fault.Hint(err))
	}
}

// TestAnAnswerChangedOnTheWayIsNoticed: the TPM authenticates its answers to who knows the owner's password.
func TestAnAnswerChangedOnTheWayIsNoticed(t *testing.T) {
	p := tpmtest.Start(t)
	p.Own("of the owner")
	s := open(t, tpm.Config{TCTI: p.TCTI(), Dir: t.TempDir(), OwnerAuthFile: credential(t, "of the owner")})
	p.Alter(func(command tpm2.TPMCC, answer []byte) {
		if command == tpm2.TPMCCCreatePrimary {
			answer[60] ^= 1 // of the public point
		}
	})
	if _, err := s.Create(t.Context(), "device-g1"); err == nil || !strings.Contains(err.Error(), "not authenticated by the TPM") {
		t.Errorf("create: %v", err)
	}
	p.Alter(nil)
	verify(t, create(t, s, "device-g1"))
	wantEmpty(t, p, "the change")
}
