package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// report queues what these probes have to say, one reading for each stream. A name that a reading has already goes into
// another one.
func (s *Sampler) report(members []*probe, at time.Time) {
	for len(members) > 0 {
		var later []*probe
		body, stream, names := []byte(nil), "", []string(nil)
		for _, p := range members {
			if len(names) > 0 && (p.Stream != stream || slices.Contains(names, p.Name)) {
				later = append(later, p)
				continue
			}
			if values := s.say(p, at); values != nil {
				if len(names) == 0 {
					stream, body = p.Stream, fmt.Appendf(nil, `{"time":"%s"`, at.UTC().Format(time.RFC3339Nano))
				}
				names = append(names, p.Name)
				name, _ := json.Marshal(p.Name) // a text always goes
				body = fmt.Appendf(body, ",%s:%s", name, values)
			}
		}
		if len(names) > 0 {
			s.enqueue(spool.Reading{Stream: stream, Body: append(body, '}')})
		}
		members = later
	}
}

// say is what p reports now, as JSON; nil where it is not due or has nothing to say.
func (s *Sampler) say(p *probe, at time.Time) []byte {
	if !p.ripe || p.gather.empty() {
		return nil
	}
	p.ripe = false
	values := p.band.pass(p.gather.close(), p.Deadband, p.Heartbeat, at)
	if len(values) == 0 {
		return nil
	}
	body, err := json.Marshal(values)
	if err != nil {
		s.tell(p, err)
		return nil
	}
	if p.Unit != "" {
		unit, _ := json.Marshal(p.Unit) // a text always goes
		body = fmt.Appendf(body[:len(body)-1], `,"unit":%s}`, unit)
	}
	return body
}

// enqueue keeps r until the spool has it. A spool that is so slow that too many wait loses the newest.
func (s *Sampler) enqueue(r spool.Reading) {
	if len(s.queue) == waiting {
		_ = s.account([]error{errBehind}) // is never Fatal
		return
	}
	s.queue = append(s.queue, r)
}

var errBehind = errors.New("the spool is slower than the sensors")

// write hands the queue to the spool beside the loop: a flash that stalls for seconds must not hold up the sensors.
func (s *Sampler) write(ctx context.Context) {
	if s.writing || len(s.queue) == 0 || ctx.Err() != nil {
		return
	}
	queue := s.queue
	s.queue, s.writing = nil, true
	go func() { s.written <- s.put(ctx, queue) }()
}

// put stores the readings in one commit. Where the spool will never take one of them, the others go by themselves.
func (s *Sampler) put(ctx context.Context, readings []spool.Reading) []error {
	errs := make([]error, len(readings))
	_, err := s.Spool.Put(ctx, readings...)
	for i, r := range readings {
		if errs[i] = err; fault.Of(err) == fault.Permanent && len(readings) > 1 {
			_, errs[i] = s.Spool.Put(ctx, r)
		}
	}
	return errs
}

// account counts what became of readings and tells of a change. It returns the first error.
func (s *Sampler) account(errs []error) (first error) {
	if len(errs) != 1 || errs[0] != errBehind {
		s.writing = false
	}
	for _, err := range errs {
		if fault.Stopped(err) {
			continue
		}
		s.count(err)
		if first == nil {
			first = err
		}
	}
	return first
}

func (s *Sampler) count(err error) {
	if err == nil {
		s.taken.Add(1)
	} else {
		s.refused.Add(1)
		for _, p := range s.probes {
			p.band = band{} // what was lost was not reported
		}
	}
	switch {
	case err != nil && !s.refusing:
		s.Log.Error("samples are lost: the spool does not take them", "err", err, "hint", fault.Hint(err))
	case err == nil && s.refusing:
		s.Log.Info("the spool takes samples again", "lost", s.refused.Load())
	}
	s.refusing = err != nil
}
