package spool

// Stats is the state of the spool in numbers. What is counted "since the spool was made" survives a restart; a power
// cut may take the last of it.
type Stats struct {
	ID       string
	Depth    uint64 // readings that wait for the hub
	Bytes    int64  // on disk
	FirstSeq uint64 // the oldest that waits, 0 when none does
	LastSeq  uint64 // the newest that was promised
	Acked    uint64 // all up to here are forgotten
	Dropped  uint64 // never delivered, for want of room, since the spool was made
	Damaged  uint64 // lost because the medium did, since the spool was made: found when their turn comes
	Expired  uint64 // never delivered, since they were older than Limits.TTL, since the spool was made
	Refused  uint64 // not taken, for want of room: their caller was told; since the spool was made
	Poisoned uint64 // set aside by Aside, since the spool was made
	Torn     int64  // bytes behind the last reading at Open: an Append that the power cut, or damage
	Aside    int    // damaged segments that were kept as *.bad
	InMemory uint64 // of Depth, those that are not on the medium yet (Limits.Within)
	Late     bool   // the medium did not take what is in memory when it was time
	Written  int64  // bytes that the medium was made to take since Open, in whole pages, with the journal
	Today    int64  // the same on this day (UTC), across restarts
	Spent    bool   // Limits.Budget is used up for today
}

// Stats returns the state as of now.
func (s *Spool) Stats() Stats {
	total, _, spent := s.meter.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	gone := s.absent.n
	t := Stats{
		ID: s.id.String(), Depth: s.depth(), Bytes: s.bytes(), LastSeq: s.next - 1, Acked: s.at.acked,
		Dropped: s.at.dropped + gone[dropped], Damaged: s.at.damaged + gone[lost],
		Expired: s.at.expired + gone[expired], Refused: s.at.refused, Poisoned: s.at.poisoned + gone[poisoned],
		Torn: s.torn, Aside: len(s.aside), InMemory: uint64(len(s.ram.records)), Late: s.ram.failed,
		Written: total, Today: spent, Spent: s.limits.Budget > 0 && spent >= s.limits.Budget,
	}
	if t.Depth > 0 {
		t.FirstSeq = s.absent.present(s.at.acked + 1)
	}
	return t
}

// bytes is what the files take, as far as they are known. The caller holds mu.
func (s *Spool) bytes() (n int64) {
	for _, list := range [][]*segment{s.segs, s.aside, s.poison} {
		for _, g := range list {
			n += g.disk
		}
	}
	return n
}
