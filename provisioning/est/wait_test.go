package est

import (
	"errors"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/sim"
)

func TestPendingRequestIsSentAgainUnchangedAndNotTooEarly(t *testing.T) {
	for name, temper := range map[string]sim.ESTTemper{
		"seconds":                      {Pending: 3, RetryAfter: 40 * time.Second},
		"date":                         {Pending: 3, RetryAfter: 40 * time.Second, RetryDate: true},
		"date of a clock an hour off":  {Pending: 3, RetryAfter: 40 * time.Second, RetryDate: true, ClockOffset: -3 * time.Minute},
		"date of a clock that is fast": {Pending: 3, RetryAfter: 40 * time.Second, RetryDate: true, ClockOffset: 3 * time.Minute},
		"missing":                      {Pending: 3},
	} {
		inWorld(t, temper, func(w *world) {
			start := time.Now()
			w.wantChain(w.issue())
			n := w.cloud.ESTCount(device)
			if n.Requests != 1 || n.Enrolled != 4 || n.Early != 0 || n.Pending != 3 || n.Issued != 1 {
				w.Errorf("%s: %+v", name, n)
			}
			if took := time.Since(start); took > 4*time.Minute {
				w.Errorf("%s: took %v", name, took)
			}
		})
	}
}

func TestPendingForEverEndsAtTheDeadline(t *testing.T) {
	inWorld(t, sim.ESTTemper{Pending: 1000, RetryAfter: 50 * time.Second}, func(w *world) {
		start := time.Now()
		_, err := w.issue()
		if took := time.Since(start); fault.Of(err) != fault.Transient || fault.RetryAfter(err) != 50*time.Second || took > 5*time.Minute {
			w.Errorf("after %v: %v, wait %v: %v", took, fault.Of(err), fault.RetryAfter(err), err)
		}
		if n := w.cloud.ESTCount(device); n.Early != 0 || n.Enrolled != 6 {
			w.Errorf("%+v", n)
		}
	})
}

func TestLongWaitIsHandedToTheCallerAndTheSameRequestGoesOutAgainAfterIt(t *testing.T) {
	inWorld(t, sim.ESTTemper{Pending: 2, RetryAfter: 3 * time.Hour}, func(w *world) {
		for range 2 {
			start := time.Now()
			_, err := w.issue()
			if fault.Of(err) != fault.Transient || fault.RetryAfter(err) != 3*time.Hour || time.Since(start) > time.Minute {
				w.Fatalf("%v %v after %v: %v", fault.Of(err), fault.RetryAfter(err), time.Since(start), err)
			}
			time.Sleep(fault.RetryAfter(err))
		}
		w.wantChain(w.issue())
		if n := w.cloud.ESTCount(device); n.Requests != 1 || n.Early != 0 || n.Issued != 1 {
			w.Errorf("%+v", n)
		}
	})
}

func TestWaitIsKeptWithinWhatTheCertificateLeavesTimeFor(t *testing.T) {
	inWorld(t, sim.ESTTemper{}, func(w *world) {
		w.cloud.SetPolicy(func(p *sim.Policy) { p.Life = 4 * time.Hour })
		w.inForce(w.issue())
		for _, temper := range []sim.ESTTemper{
			{Pending: 1, RetryAfter: 47 * time.Hour}, {Status: 503, RetryAfter: 400 * time.Hour}, {Status: 429, RetryAfter: 47 * time.Hour, RetryDate: true},
		} {
			w.cloud.SetTemper(sim.Temper{EST: temper})
			_, err := w.issue()
			if wait := fault.RetryAfter(err); wait > time.Hour || wait < 59*time.Minute {
				w.Errorf("%+v: wait %v: %v", temper, wait, err)
			}
		}
	})
}

func TestLostAnswerIsAskedForWithTheSameRequest(t *testing.T) {
	lost := sim.Temper{Fault: func(p sim.Point, _ string, n int) error {
		if p == sim.AtESTIssued && n == 1 {
			return sim.ErrDrop
		}
		return nil
	}}
	inWeather(t, lost, func(w *world) {
		if _, err := w.issue(); fault.Of(err) != fault.Transient || err == nil {
			w.Errorf("%v: %v", fault.Of(err), err)
		}
		w.wantChain(w.issue())
		if n := w.cloud.ESTCount(device); n.Requests != 1 || n.Enrolled != 2 {
			w.Errorf("%+v", n)
		}
	})
}

func TestAnotherKeyIsAnotherRequest(t *testing.T) {
	inWorld(t, sim.ESTTemper{Pending: 1, RetryAfter: time.Hour}, func(w *world) {
		if _, err := w.issue(); fault.RetryAfter(err) != time.Hour {
			w.Fatal(err)
		}
		w.key = newKey(w.T, "ecdsa-p384")
		w.wantChain(w.issue())
		if n := w.cloud.ESTCount(device); n.Requests != 2 {
			w.Errorf("%+v", n)
		}
	})
}

func TestRefusedRequestIsForgotten(t *testing.T) {
	inWorld(t, sim.ESTTemper{Status: 400, StatusTimes: 1}, func(w *world) {
		if _, err := w.issue(); fault.Of(err) != fault.Permanent {
			w.Fatal(err)
		}
		w.wantChain(w.issue())
		if n := w.cloud.ESTCount(device); n.Requests != 2 {
			w.Errorf("%+v", n)
		}
	})
}

func TestRenewalThatIsTooEarlyIsAMatterOfTime(t *testing.T) {
	inWorld(t, sim.ESTTemper{TooEarly: 10 * 24 * time.Hour, RetryAfter: 24 * time.Hour}, func(w *world) {
		w.inForce(w.issue())
		_, err := w.issue()
		if fault.Of(err) != fault.Transient || fault.RetryAfter(err) != 24*time.Hour {
			w.Errorf("%v %v: %v", fault.Of(err), fault.RetryAfter(err), err)
		}
		time.Sleep(21 * 24 * time.Hour)
		w.wantChain(w.issue())
	})
}

func TestServerThatSaysNothingEndsAsTransient(t *testing.T) {
	for _, point := range []sim.Point{sim.AtESTInfo, sim.AtESTEnroll, sim.AtESTIssued} {
		silent := sim.Temper{Fault: func(p sim.Point, _ string, _ int) error {
			if p == point {
				return sim.ErrSilent
			}
			return nil
		}}
		inWeather(t, silent, func(w *world) {
			start := time.Now()
			_, err := w.issue()
			if took := time.Since(start); err == nil || fault.Of(err) != fault.Transient || fault.Stopped(err) || took > answerTimeout+time.Second {
				w.Errorf("%s: after %v: %v: %v", point, took, fault.Of(err), err)
			}
		})
	}
}

func TestAnswerThatTricklesEndsAsTransient(t *testing.T) {
	inWorld(t, sim.ESTTemper{Answer: sim.ESTSlow}, func(w *world) {
		start := time.Now()
		_, err := w.issue()
		if took := time.Since(start); err == nil || fault.Of(err) != fault.Transient || took > answerTimeout+time.Second {
			w.Errorf("after %v: %v: %v", took, fault.Of(err), err)
		}
	})
}

func TestUnreachableServerIsTransientAndTold(t *testing.T) {
	inWeather(t, sim.Temper{Offline: true}, func(w *world) {
		if _, err := w.issue(); fault.Of(err) != fault.Transient || err == nil || errors.Is(err, errShort) {
			w.Errorf("%v", err)
		}
	})
}
