package tpmtest

import (
	"errors"
	"net"
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
	if err := guess(relayed{p}, key); err != nil {
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

// relayed sends as users of the TCTI do.
type relayed struct{ *TPM }

func (r relayed) Send(command []byte) ([]byte, error) {
	c, err := net.Dial("unix", r.front())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return ask(c, command)
}
