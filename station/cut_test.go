package station_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/durable"
	"github.com/devid-agent/devid-agent/station"
)

// errCut is what a test's power cut looks like to the program.
var errCut = fault.As(fault.Fatal, errors.New("the power is cut"))

// scissors cut the power at the n-th step, and for good.
type scissors struct {
	mu    sync.Mutex
	n     int
	count int
}

func (s *scissors) step(string, string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count++; s.n > 0 && s.count >= s.n {
		return errCut
	}
	return nil
}

func TestOrderThatIsCutAnywhereSignsTheDeviceOnce(t *testing.T) {
	whole := &scissors{}
	cutOrder(t, whole)
	if whole.count < 30 {
		t.Fatalf("an order has %d steps", whole.count)
	}
	for n := 1; n <= whole.count; n++ {
		cutOrder(t, &scissors{n: n})
	}
}

// cutOrder runs an order until it is cut, and then to its end.
func cutOrder(t *testing.T, s *scissors) {
	t.Helper()
	in, ca, dir := folder(t, "gw-1"), t.TempDir(), t.TempDir()
	found(t, station.Founding{Dir: ca, Kind: station.Root}).Close()
	run := func(step durable.Step) error {
		o, err := station.OpenOrder(dir, step)
		if err != nil {
			return err
		}
		defer o.Close()
		if err := o.Add("gw-1.csr", ""); err != nil {
			return err
		}
		a, err := station.OpenAuthority(t.Context(), ca, step)
		if err != nil {
			return err
		}
		return (&station.Batch{Order: o, Reach: in.Reach, Signer: station.LocalSigner{Authority: a}, Parallel: 1}).Run(t.Context())
	}
	if err := run(s.step); (err != nil) != (s.n > 0) {
		t.Fatalf("cut at %d: %v", s.n, err)
	}
	if err := run(nil); err != nil {
		t.Fatalf("after the cut at %d: %v", s.n, err)
	}
	a, err := station.OpenAuthority(t.Context(), ca, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := devicesOf(t, a); len(got) != 1 || got["CN=gw-1"] != 1 {
		t.Errorf("after the cut at %d: issued %v", s.n, got)
	}
}

func TestOrderIsWorkedOnByOne(t *testing.T) {
	dir := t.TempDir()
	o := openOrder(t, dir, nil)
	if _, err := station.OpenOrder(dir, nil); err == nil || !strings.Contains(err.Error(), "another devid-station") {
		t.Errorf("a second one: %v", err)
	}
	o.Close()
	openOrder(t, dir, nil)
}

func TestMistakeIsTakenOutOfTheOrderAndACertificateIsNot(t *testing.T) {
	root := found(t, station.Founding{Kind: station.Root})
	in, dir := folder(t, "gw-1"), t.TempDir()
	o := openOrder(t, dir, nil, "gw-1.csr", "typo.csr")
	b := &station.Batch{Order: o, Reach: in.Reach, Signer: station.LocalSigner{Authority: root}}
	if err := b.Run(t.Context()); err == nil {
		t.Error("the order is finished")
	}
	if err := o.Drop("typo.csr"); err != nil {
		t.Error(err)
	}
	for _, target := range []string{"gw-1.csr", "typo.csr"} {
		if err := o.Drop(target); err == nil || fault.Hint(err) == "" {
			t.Errorf("drop %s: %v", target, err)
		}
	}
	o.Close()
	if b.Order = openOrder(t, dir, nil); b.Run(t.Context()) != nil || len(b.Order.Items()) != 1 {
		t.Errorf("%+v", b.Order.Items())
	}
}

func TestDamagedItemIsLoud(t *testing.T) {
	dir := t.TempDir()
	openOrder(t, dir, nil, "gw-1").Close()
	if err := os.WriteFile(filepath.Join(dir, "items", "gw-1.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := station.OpenOrder(dir, nil); err == nil || fault.Hint(err) == "" {
		t.Errorf("damage is absence: %v", err)
	}
}

func TestTargetCannotLeaveTheOrder(t *testing.T) {
	dir := t.TempDir()
	openOrder(t, dir, nil, "../../escape", "..", "a/b", strings.Repeat("x", 300))
	files, err := os.ReadDir(filepath.Join(dir, "items"))
	if err != nil || len(files) != 4 {
		t.Errorf("%d items, %v", len(files), err)
	}
}
