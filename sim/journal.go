package sim

// keepByDefault is more than any test sends, and what a cloud that runs for weeks can hold.
const keepByDefault = 200_000

// journal is what the cloud remembers. The cloud's mutex guards it.
type journal struct {
	events   []Event
	received map[string][]Message
	order    []string // the device of each message on record
	counts   map[tally]int
	totals   map[Kind]int
	refused  map[place]int

	lostMessages, lostEvents int
}

type tally struct {
	kind   Kind
	device string
}

func newJournal() journal {
	return journal{received: map[string][]Message{}, counts: map[tally]int{}, totals: map[Kind]int{}, refused: map[place]int{}}
}

func (j *journal) event(e Event, keep int) {
	j.totals[e.Kind]++
	j.counts[tally{e.Kind, e.Device}]++
	j.events = append(j.events, e)
	for len(j.events) > keep {
		j.events[0] = Event{}
		j.events = j.events[1:]
		j.lostEvents++
	}
}

func (j *journal) message(m Message, keep int) {
	j.received[m.Device] = append(j.received[m.Device], m)
	j.order = append(j.order, m.Device)
	for len(j.order) > keep {
		oldest := j.received[j.order[0]]
		oldest[0] = Message{}
		j.received[j.order[0]] = oldest[1:]
		j.order = j.order[1:]
		j.lostMessages++
	}
}
