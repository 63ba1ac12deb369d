package telemetry_test

import (
	"slices"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/telemetry"
)

func hint(err error) string { return fault.Hint(err) }

func poisonous(seqs ...uint64) *hub {
	h := newHub(1)
	h.poison = map[uint64]bool{}
	for _, s := range seqs {
		h.poison[s] = true
	}
	return h
}

func TestFault34AMessageThatEndsEachSessionIsSetAsideAndTheRestArrives(t *testing.T) {
	h, q := poisonous(40), newQueue()
	q.add(200)
	pumpingWith(t, h, telemetry.PumpConfig{Lanes: []telemetry.Lane{laneOf("a", q)}}, func(t *testing.T, p *telemetry.Pump) {
		for range 20 { // others come meanwhile
			pass(15 * time.Second)
			q.add(1)
		}
		pass(time.Minute)
		if !slices.Equal(q.aside, []uint64{40}) || q.depth() != 0 || p.Report().Aside != 1 {
			t.Errorf("set aside %v, %d wait, report %d", q.aside, q.depth(), p.Report().Aside)
		}
		if h.dialled() > 20 {
			t.Errorf("%d dials", h.dialled())
		}
	})
}

func TestFault34ThePoisonOfAPackIsFoundAmongItsReadings(t *testing.T) {
	h, q := poisonous(47), newQueue()
	q.add(400)
	lane := telemetry.Lane{Name: "a", Queue: q, Pack: telemetry.Pack{Bytes: 1000}}
	pumpingWith(t, h, telemetry.PumpConfig{Lanes: []telemetry.Lane{lane}}, func(t *testing.T, _ *telemetry.Pump) {
		for range 60 {
			pass(15 * time.Second)
			q.add(1)
		}
		pass(5 * time.Minute)
		if !slices.Equal(q.aside, []uint64{47}) || q.depth() != 0 {
			t.Errorf("set aside %v, %d wait", q.aside, q.depth())
		}
	})
}

func TestFault34AHubThatFlapsCostsNoReading(t *testing.T) {
	for name, flap := range map[string]func(h *hub){
		"ends sessions after seconds": func(h *hub) {
			for range 600 {
				pass(3 * time.Second)
				h.set(func() {
					if h.session != nil {
						h.session.end()
					}
				})
			}
		},
		"its daily quota is used up": func(h *hub) {
			h.set(func() { h.poison = nil; h.quota = true })
			pass(8 * time.Hour)
			h.set(func() { h.quota = false })
		},
		"it acknowledges nothing": func(h *hub) {
			h.set(func() { h.deaf = true })
			pass(8 * time.Hour)
			h.set(func() { h.deaf = false })
		},
	} {
		t.Run(name, func(t *testing.T) {
			h, q := newHub(1), newQueue()
			q.add(100)
			pumpingWith(t, h, telemetry.PumpConfig{Lanes: []telemetry.Lane{laneOf("a", q)}}, func(t *testing.T, _ *telemetry.Pump) {
				flap(h)
				pass(3 * time.Hour)
				if len(q.aside) != 0 || q.depth() != 0 {
					t.Errorf("set aside %v, %d wait", q.aside, q.depth())
				}
			})
		})
	}
}

func TestFault34ALonelyReadingIsNotCondemnedWithoutComparison(t *testing.T) {
	h, q := poisonous(1), newQueue()
	q.add(1)
	pumpingWith(t, h, telemetry.PumpConfig{Lanes: []telemetry.Lane{laneOf("a", q)}}, func(t *testing.T, _ *telemetry.Pump) {
		pass(24 * time.Hour)
		if len(q.aside) != 0 || h.dialled() > 60 {
			t.Errorf("set aside %v, %d dials in a day", q.aside, h.dialled())
		}
		q.add(20)
		pass(3 * time.Hour)
		q.add(20)
		pass(3 * time.Hour)
		if !slices.Equal(q.aside, []uint64{1}) || q.depth() != 0 {
			t.Errorf("set aside %v, %d wait", q.aside, q.depth())
		}
	})
}

func TestAReadingThatCanNeverBeSentIsSetAsideAtOnce(t *testing.T) {
	h, q := newHub(1), newQueue()
	q.add(10)
	q.records[4].Stream = "too large"
	pumpingWith(t, h, telemetry.PumpConfig{Lanes: []telemetry.Lane{laneOf("a", q)}}, func(t *testing.T, _ *telemetry.Pump) {
		pass(time.Second)
		if !slices.Equal(q.aside, []uint64{5}) || q.depth() != 0 || h.sent() != 9 || h.dialled() != 1 {
			t.Errorf("set aside %v, %d wait, arrived %v", q.aside, q.depth(), h.received)
		}
	})
}

func TestWhatIsLeftOfAMessageWhoseFirstReadingsHaveExpiredIsSetAside(t *testing.T) {
	h, q := newHub(1), newQueue()
	h.deaf = true
	q.add(3)
	lane := telemetry.Lane{Name: "a", Queue: q, Pack: telemetry.Pack{Bytes: 1000}}
	pumpingWith(t, h, telemetry.PumpConfig{Lanes: []telemetry.Lane{lane}}, func(t *testing.T, _ *telemetry.Pump) {
		pass(time.Second)
		q.expire(2)
		q.records[0].Stream = "too large"
		h.set(func() { h.deaf = false; h.session.end() })
		pass(time.Minute)
		if !slices.Equal(q.aside, []uint64{3}) || q.depth() != 0 {
			t.Errorf("set aside %v, %d wait", q.aside, q.depth())
		}
	})
}
