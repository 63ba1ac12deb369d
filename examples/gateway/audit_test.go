package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

func TestAPartThatWasPromisedAndDoesNotComeIsMissed(t *testing.T) {
	cloud, err := sim.New(sim.Temper{}, func(p *sim.Policy) { p.ECDSAServer = true })
	if err != nil {
		t.Fatal(err)
	}
	defer cloud.Close()
	s := &story{cloud: cloud, began: time.Now(), promised: map[string]bool{}}
	s.note("promised a-1")
	s.note("refused a-2")
	if missing := s.missing(); !slices.Equal(missing, []string{"a-1"}) {
		t.Errorf("%v are missing, want a-1 alone", missing)
	}
	if s.refused != 1 {
		t.Errorf("%d refused, want 1", s.refused)
	}
}

func TestTheRuleForPolkitIsThatOfTheDocument(t *testing.T) {
	rule, err := polkitRule("../../docs/remote.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"polkit.addRule(", `"devid-agent"`, "org.freedesktop.login1.reboot", "});\n"} {
		if !strings.Contains(rule, word) {
			t.Errorf("the rule lacks %s:\n%s", word, rule)
		}
	}
	if _, err := polkitRule("../../docs/gateway.md"); err == nil {
		t.Error("a document without a rule has one")
	}
}
