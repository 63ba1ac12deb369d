package main

import (
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

func TestTheAuditFindsWhatIsMissing(t *testing.T) {
	cloud, err := sim.New(sim.Temper{}, func(p *sim.Policy) { p.ECDSAServer = true })
	if err != nil {
		t.Fatal(err)
	}
	defer cloud.Close()
	s := &stage{cloud: cloud, began: time.Now(), promised: map[string]bool{}}
	s.note("promised a-1")
	s.note("refused a-2")
	s.scene.final.Spool.LastSeq = 2
	a := s.audit()
	if len(a.missing) != 2 || len(a.broken) != 1 || a.broken[0] != "a-1" || a.taken != 2 {
		t.Errorf("%+v: want the numbers 1 and 2, and the part a-1, missing", a)
	}
	if s.refused != 1 {
		t.Errorf("%d refused, want 1", s.refused)
	}
}
