package tpm

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/keys"
)

// always answers every command alike.
type always struct {
	code  tpm2.TPMRC
	asked int
}

func (a *always) open() line    { return a }
func (a *always) managed() bool { return true }
func (a *always) close()        {}
func (a *always) exchange(context.Context, []byte) ([]byte, error) {
	a.asked++
	return []byte{0x80, 1, 0, 0, 0, 10, byte(a.code >> 24), byte(a.code >> 16), byte(a.code >> 8), byte(a.code)}, nil
}

func TestPatienceWithABusyTPMEnds(t *testing.T) {
	for code, want := range map[tpm2.TPMRC]time.Duration{tpm2.TPMRCRetry: 30 * time.Second, tpm2.TPMRCTesting: 30 * time.Second,
		tpm2.TPMRCObjectMemory: 3 * time.Second, tpm2.TPMRCLockout: 0, tpm2.TPMRCAuthFail: 0} {
		synctest.Test(t, func(t *testing.T) {
			tpm, start := &always{code: code}, time.Now()
			answer, err := insist(t.Context(), tpm, make([]byte, 10))
			if err != nil || codeOf(answer) != code {
				t.Errorf("%v: answer % x, %v", code, answer, err)
			}
			if took := time.Since(start); took < want || took > want+longestWait {
				t.Errorf("%v: gave up after %v, want %v", code, took, want)
			}
			if tpm.asked > 60 || want == 0 && tpm.asked != 1 {
				t.Errorf("%v: asked %d times", code, tpm.asked)
			}
		})
	}
}

func TestPatienceEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		_, err := insist(ctx, &always{code: tpm2.TPMRCRetry}, make([]byte, 10))
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestTheHurryOfOneCommandDoesNotReachTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var ended atomic.Bool
		hurry := func(time.Time) error {
			if ctx.Err() != nil {
				time.Sleep(time.Second) // the goroutine of AfterFunc has begun, and gets the processor only now
				if ended.Load() {
					t.Error("the deadline is moved after the command has ended")
				}
			}
			return nil
		}
		stop, err := watch(ctx, make([]byte, header), time.Minute, hurry)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		synctest.Wait()
		stop()
		ended.Store(true)
		time.Sleep(2 * time.Second)
	})
}

func TestEachCodeSaysWhoCanAct(t *testing.T) {
	for code, want := range map[tpm2.TPMRC]fault.Kind{
		tpm2.TPMRCRetry: fault.Transient, tpm2.TPMRCObjectMemory: fault.Transient, tpm2.TPMRCNVRate: fault.Transient,
		tpm2.TPMRCLockout: fault.Operator, tpm2.TPMRCAuthFail: fault.Operator, 0x98E: fault.Operator, 0x9A2: fault.Operator,
		tpm2.TPMRCFailure: fault.Operator, tpm2.TPMRCInitialize: fault.Operator, 0x2D2: fault.Operator,
		tpm2.TPMRCCommandCode: fault.Permanent, 0x1C4: fault.Permanent,
	} {
		err := label("sign", code)
		if fault.Of(err) != want || !errors.Is(err, code) {
			t.Errorf("%#x: %v is %v, want %v", uint32(code), err, fault.Of(err), want)
		}
		if (fault.Hint(err) != "") != (want == fault.Operator) {
			t.Errorf("%#x: hint %q", uint32(code), fault.Hint(err))
		}
	}
	for _, code := range []tpm2.TPMRC{0x1DF, 0x2DF, 0x18B, 0x1CB} {
		if err := labelForeign("load", code, nil, nil); fault.Hint(err) != hintForeign {
			t.Errorf("load answered with %#x: %v, hint %q", uint32(code), err, fault.Hint(err))
		}
	}
	for _, code := range []tpm2.TPMRC{0x2C4, 0x1E6, 0x2C7} {
		if err := labelUnable(keys.RSA3072, "make", code); fault.Hint(err) != "set keys.algorithm: ecdsa-p256" {
			t.Errorf("create answered with %#x: %v, hint %q", uint32(code), err, fault.Hint(err))
		}
	}
}

func TestTCTINamesATPM(t *testing.T) {
	for s, want := range map[string]link{
		"":                              &device{path: "/dev/tpmrm0"},
		"device":                        &device{path: "/dev/tpmrm0"},
		"device:/dev/tpmrm1":            &device{path: "/dev/tpmrm1"},
		"swtpm:path=/run/tpm":           &socket{network: "unix", address: "/run/tpm"},
		"swtpm:host=tpm.local,port=232": &socket{network: "tcp", address: "tpm.local:232"},
		"swtpm:port=2321":               &socket{network: "tcp", address: "localhost:2321"},
	} {
		got, err := parseTCTI(s, 0)
		if err != nil {
			t.Errorf("%q: %v", s, err)
			continue
		}
		switch w := want.(type) {
		case *device:
			if g, ok := got.(*device); !ok || *g != *w {
				t.Errorf("%q: %+v, want %+v", s, got, w)
			}
		case *socket:
			if g, ok := got.(*socket); !ok || *g != *w {
				t.Errorf("%q: %+v, want %+v", s, got, w)
			}
		}
	}
}

func TestTCTIThatNamesNoTPMSaysWhatWould(t *testing.T) {
	for s, want := range map[string]string{
		"device:/dev/tpm0": "use device:/dev/tpmrm0", "device:tpmrm0": "name the TPM as", "mssim": "name the TPM as",
		"swtpm": "name the TPM as", "swtpm:path=": "name the TPM as", "swtpm:path=a,port=1": "name the TPM as",
		"swtpm:host=a": "name the TPM as", "swtpm:port=0": "name the TPM as", "swtpm:port=70000": "name the TPM as",
		"/dev/tpmrm0": "name the TPM as", "swtpm:pfad=a": "name the TPM as",
	} {
		err := CheckTCTI(s)
		if fault.Of(err) != fault.Operator || !strings.HasPrefix(fault.Hint(err), want) {
			t.Errorf("%q: %v (%v, hint %q)", s, err, fault.Of(err), fault.Hint(err))
		}
	}
}

func TestMissingDeviceMayComeLater(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tpmrm0")
	s, err := Open(Config{TCTI: "device:" + path, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Create(t.Context(), "device-g1")
	if fault.Of(err) != fault.Transient || !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("create: %v (%v)", err, fault.Of(err))
	}
}

func TestForbiddenDeviceSaysModeOwnerAndTheCommandThatMendsIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tpmrm0")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l := &deviceLine{device: &device{path: path}}
	err := l.label(&fs.PathError{Op: "open", Path: path, Err: fs.ErrPermission})
	if fault.Of(err) != fault.Operator || !strings.HasPrefix(fault.Hint(err), "usermod -aG tss devid-agent") {
		t.Errorf("%v (%v, hint %q)", err, fault.Of(err), fault.Hint(err))
	}
	if !strings.Contains(err.Error(), path+": permission denied (mode -rw-------, owner ") {
		t.Errorf("%v", err)
	}
}

func TestAnswerIsReadWholeOrNotAtAll(t *testing.T) {
	good := []byte{0x80, 1, 0, 0, 0, 12, 0, 0, 0, 0, 1, 2}
	if got, err := readAnswer(bytes.NewReader(good)); err != nil || !bytes.Equal(got, good) {
		t.Errorf("% x, %v", got, err)
	}
	for n := range good {
		if got, err := readAnswer(bytes.NewReader(good[:n])); err == nil {
			t.Errorf("cut to %d bytes: % x", n, got)
		}
	}
	for _, size := range []byte{0, 9, 11} {
		bad := append(bytes.Clone(good[:5]), append([]byte{size}, good[6:]...)...)
		if got, err := readAnswer(bytes.NewReader(bad)); err == nil {
			t.Errorf("size %d: % x", size, got)
		}
	}
	huge := append([]byte{0x80, 1, 0xFF, 0xFF, 0xFF, 0xFF}, make([]byte, 5000)...)
	if _, err := readAnswer(bytes.NewReader(huge)); err == nil {
		t.Error("an answer of 4 GB was read")
	}
}
