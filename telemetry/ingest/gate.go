package ingest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// gate is what every reading passes, whichever way it came.
type gate struct {
	once   sync.Once
	grants []grant
	wrong  error // why there are no grants
	quotas quotas
	hand   *hand

	taken, refused, lost, ignored atomic.Uint64
	refusing                      atomic.Bool // the spool did not take the last reading
}

// Readings counts what became of the readings since the start.
type Readings struct {
	Taken   uint64 `json:"taken"`   // promised
	Refused uint64 `json:"refused"` // told to the sender, or given up by the stream's own policy
	Lost    uint64 `json:"lost"`    // of MQTT's QoS 0, which promises nothing
	Ignored uint64 `json:"ignored"` // of topics that a rule lets go
}

// Readings is the count so far, over HTTP and MQTT.
func (s *Server) Readings() Readings {
	return Readings{Taken: s.gate.taken.Load(), Refused: s.gate.refused.Load(), Lost: s.gate.lost.Load(), Ignored: s.gate.ignored.Load()}
}

const (
	usualHand     = 4 << 20
	appendTimeout = 20 * time.Second // a card that collects its garbage takes seconds
)

// rules makes the gate from the configuration, once.
func (s *Server) rules() *gate {
	g := &s.gate
	g.once.Do(func() {
		g.grants, g.wrong = grants(s.Permissions)
		g.quotas.Quota = s.Quota
		g.hand = newHand(or(s.InHand, usualHand))
	})
	return g
}

// put stores readings that are here, also when their sender has hung up meanwhile: they may never come again.
func (s *Server) put(ctx context.Context, readings ...spool.Reading) (first uint64, err error) {
	ctx, stop := context.WithTimeout(ctx, appendTimeout)
	defer stop()
	first, err = s.Spool.Put(ctx, readings...)
	s.notice(err)
	return first, err
}

// notice tells when the spool begins to refuse, and when it takes readings again.
func (s *Server) notice(err error) {
	if err == nil {
		if s.gate.refusing.Load() && s.gate.refusing.Swap(false) {
			s.Log.Info("the spool takes readings again")
		}
		return
	}
	if !s.gate.refusing.Swap(true) {
		s.Log.Error("readings are refused: the spool does not take them", "err", err, "hint", fault.Hint(err))
	}
}

// full reports whether a limit of the spool stands against a reading.
func full(err error) bool { return errors.Is(err, spool.ErrFull) }

// dropped reports whether the stream's policy is that its newest readings give way (spool.DropNewest).
func dropped(err error) bool { return full(err) && fault.Of(err) == fault.Permanent }

// soon reports whether what was taken for stream is on the medium only some time later.
func (s *Server) soon(stream string) bool { return s.Volatile != nil && s.Volatile(stream) }

func or[T int | int64](n, usual T) T {
	if n == 0 {
		return usual
	}
	return n
}
