package main

import (
	"testing"
	"time"
)

func TestTheWatchdogStarvesWhenALoopHangs(t *testing.T) {
	now := time.Now()
	if loop := hung(map[string]time.Time{"pump": now.Add(-30 * time.Second), "renew": {}}, now); loop != "" {
		t.Errorf("%s is late by half a minute, and taken for dead", loop)
	}
	if loop := hung(map[string]time.Time{"pump": now.Add(-2 * time.Minute), "renew": now.Add(time.Hour)}, now); loop != "pump" {
		t.Errorf("the pump hangs, and %q is blamed", loop)
	}
}

func TestTheStatusIsForThePersonWithTwoThousandDevices(t *testing.T) {
	s := &status{Device: "d1", Spool: spoolStatus{Depth: 7}}
	if got := s.line(); got != "no identity yet, 7 readings wait" {
		t.Error(got)
	}
	s.Hub = &hubStatus{State: "waiting"}
	if got := s.line(); got != "not enrolled yet, 7 readings wait" {
		t.Error(got)
	}
	until := time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)
	s.Identity = &identityStatus{DeviceID: "d1", Generation: 3, Serial: "a1", NotAfter: &until}
	s.Hub.State = "online"
	if got := s.line(); got != "online as d1 generation 3, 7 readings wait, certificate a1 until 2027-01-02T03:04:05Z" {
		t.Error(got)
	}
	s.Identity = &identityStatus{DeviceID: "d1", Generation: 3}
	if got := s.line(); got != "online as d1 generation 3, 7 readings wait, tokens of a shared key" {
		t.Error(got)
	}
}
