package tpm

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/tpm/tpmtest"
)

// manager is a link to a software TPM that passes for the kernel's resource manager, and can fail as it does.
type manager struct {
	link
	opened int
	broken []error // what the next exchanges answer instead
}

func (m *manager) managed() bool { return true }
func (m *manager) open() line {
	m.opened++
	return m
}
func (m *manager) close() {}
func (m *manager) exchange(ctx context.Context, command []byte) ([]byte, error) {
	if len(m.broken) > 0 {
		err := m.broken[0]
		m.broken = m.broken[1:]
		return nil, err
	}
	return m.link.open().exchange(ctx, command)
}

func managed(t *testing.T) (*Store, *manager) {
	t.Helper()
	s, err := Open(Config{TCTI: tpmtest.Start(t).TCTI(), Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	m := &manager{link: s.link}
	s.link = m
	return s, m
}

func signs(t *testing.T, key crypto.Signer) {
	t.Helper()
	digest := bytes.Repeat([]byte{1}, 32)
	signature, err := key.Sign(rand.Reader, digest, crypto.SHA256)
	if err != nil || !ecdsa.VerifyASN1(key.Public().(*ecdsa.PublicKey), digest, signature) {
		t.Errorf("signature % x, %v", signature, err)
	}
}

// The kernel answers EFAULT where the chip does not take back what the resource manager has saved: it was reset.
func TestResourceManagerThatLostTheKeyIsAskedAnewAtOnce(t *testing.T) {
	s, m := managed(t)
	key, err := s.Create(t.Context(), "device-g1")
	if err != nil {
		t.Fatal(err)
	}
	m.broken = []error{fault.As(fault.Transient, fmt.Errorf("tpm device: %w", syscall.EFAULT))}
	signs(t, key)
	signs(t, key)
}

func TestDeafResourceManagerIsAskedOnce(t *testing.T) {
	s, m := managed(t)
	key, err := s.Create(t.Context(), "device-g1")
	if err != nil {
		t.Fatal(err)
	}
	before := m.opened
	m.broken = []error{fault.As(fault.Transient, context.DeadlineExceeded), errors.New("asked twice")}
	if _, err := key.Sign(rand.Reader, make([]byte, 32), crypto.SHA256); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	m.broken = nil
	signs(t, key)
	if m.opened != before+1 {
		t.Errorf("opened %d times after an error, want the device anew", m.opened-before)
	}
}

func TestLockoutKeepsHalfOfTheTriesForPeople(t *testing.T) {
	noon := time.Date(2027, 3, 1, 12, 0, 30, 0, time.UTC)
	for name, c := range map[string]struct {
		state lockout
		says  string // "" when a password may be tried
		wait  time.Duration
	}{
		"fresh":          {lockout{limit: 32, interval: time.Hour}, "", 0},
		"nearly half":    {lockout{counter: 15, limit: 32, interval: time.Hour}, "", 0},
		"half":           {lockout{counter: 16, limit: 32, interval: time.Hour}, "16 of 32 wrong passwords counted by the TPM, safe again at 13:01", time.Hour},
		"more":           {lockout{counter: 18, limit: 32, interval: 2 * time.Hour}, "safe again at 18:01", 6 * time.Hour},
		"locked":         {lockout{counter: 3, limit: 3, locked: true, interval: 24 * time.Hour}, "safe again at 2027-03-03 12:01", 48 * time.Hour},
		"a single try":   {lockout{limit: 1, interval: time.Hour}, "", 0},
		"none":           {lockout{}, "permits no password at all", 0},
		"nothing counts": {lockout{counter: 9, limit: 3}, "", 0},
	} {
		err := c.state.check(noon)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
		if fault.RetryAfter(err) != c.wait || err != nil && (fault.Of(err) != fault.Operator || fault.Hint(err) == "") {
			t.Errorf("%s: wait %v, %v, hint %q", name, fault.RetryAfter(err), fault.Of(err), fault.Hint(err))
		}
	}
}
