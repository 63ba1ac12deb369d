package main

import "time"

// evidence is what the summary is made of.
type evidence struct {
	version    string
	install    time.Duration
	boots      []boot
	cuts       []cut
	check      checked
	generation uint64 // the agent's last word
	final      reported
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

// checked is what `devid-agent check --json` says.
type checked struct {
	OK  bool
	Key *struct {
		Place, Algorithm, Export string
		Attributes               []string
		Refused                  bool
	}
}

// reported is what `devid-agent status --json` says.
type reported struct {
	Written  time.Time
	Identity *struct {
		DeviceID   string `json:"device_id"`
		Hub, Key   string
		Generation uint64
	}
	Spool struct {
		LastSeq uint64 `json:"last_seq"`
		Depth   int    `json:"depth"`
		Dropped uint64 `json:"dropped"`
		Damaged uint64 `json:"damaged"`
	}
	Troubles map[string]struct{ Error, Hint string }
}
