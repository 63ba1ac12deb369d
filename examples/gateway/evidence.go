package main

import (
	"time"

	"github.com/devid-agent/devid-agent/examples/stage"
)

// evidence is what the summary is made of.
type evidence struct {
	version    string
	install    time.Duration
	boots      []boot
	cuts       []cut
	check      stage.Check
	generation uint64 // the agent's last word
	final      stage.Status
	memory     memory
	long       longEvidence
}

// boot is one time that the power came.
type boot struct {
	up    time.Duration // until the board lent its hands
	first time.Duration // until the cloud had the first reading of this boot
}

// cut is one time that it went.
type cut struct {
	where           string
	waiting         int // parts promised, and not yet at the cloud
	kept, forgotten int // of the disk's writes that were not flushed
}
