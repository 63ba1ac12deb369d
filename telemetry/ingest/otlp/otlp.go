// Package otlp makes readings of the metrics in a request by OTLP/HTTP, and words for its answer.
//
// The messages are those of opentelemetry-proto 1, of metrics/v1/metrics.proto above all. What is stable there does not
// change its number, and what is unknown here is left out, as Protocol Buffers have it.
package otlp

import (
	"bytes"
	"errors"
	"fmt"
)

// ErrTooMuch is in the error of Read for a request whose readings are more than Bounds.All together.
var ErrTooMuch = errors.New("the readings of the request are too much together")

// errNoName is for the data points of a metric that says not what it is.
var errNoName = errors.New("its metric has no name")

// Bounds are what may become of one request, in bytes.
type Bounds struct {
	One int // one reading
	All int // all readings together
}

// Points is what a request holds.
type Points struct {
	Bodies  [][]byte // a reading each, in JSON, in their order
	Refused int      // data points that can be no reading
	Why     string   // the first of those was refused
}

// Read makes a reading of each data point of an ExportMetricsServiceRequest in Protocol Buffers. An error says that the
// request is not one, or too much; nothing of it is to be stored then.
func Read(request []byte, bounds Bounds) (Points, error) {
	w := walk{bounds: bounds}
	if err := inside(request, 1, w.resourceMetrics); err != nil {
		return Points{}, fmt.Errorf("read the metrics: %w", err)
	}
	return w.Points, nil
}

// inside calls do with each message of this number.
func inside(message []byte, number uint64, do func([]byte) error) error {
	return each(message, func(f field) error {
		if f.number != number {
			return nil
		}
		if err := f.of(lengthy); err != nil {
			return err
		}
		return do(f.b)
	})
}

// walk goes through a request. What several points share is put into words once, and copied into a reading only when
// that is known to be within bounds: a request cannot make more work than it has bytes.
type walk struct {
	Points
	bounds   Bounds
	size     int    // of all readings so far
	resource []byte // members of a JSON object, each with a comma before it
	scope    []byte
}

func (w *walk) resourceMetrics(from []byte) error {
	w.resource = nil
	if err := inside(from, 1, w.about); err != nil {
		return err
	}
	return inside(from, 2, w.scopeMetrics)
}

// about notes a Resource, but for which library the program uses (telemetry.sdk.*): of a short reading that would be a
// third.
func (w *walk) about(resource []byte) error {
	var list []byte
	err := inside(resource, 1, func(pair []byte) error {
		longer, err := appendPair(comma(list), pair, 0)
		if !bytes.HasPrefix(bytes.TrimPrefix(longer[len(list):], []byte{','}), []byte(`"telemetry.sdk.`)) {
			list = longer
		}
		return err
	})
	if len(list) > 0 {
		w.resource = append(append([]byte(`,"resource":{`), list...), '}')
	}
	return err
}

func (w *walk) scopeMetrics(from []byte) error {
	w.scope = nil
	err := inside(from, 1, func(from []byte) error {
		members, err := appendMembers(nil, from, scope, 0)
		if len(members) > 0 {
			members[0] = '{' // it was a comma
			w.scope = append(append([]byte(`,"scope":`), members...), '}')
		}
		return err
	})
	if err != nil {
		return err
	}
	return inside(from, 2, w.metric)
}

func (w *walk) metric(from []byte) error {
	name, unit := "", ""
	err := each(from, func(f field) (err error) {
		switch f.number {
		case 1:
			name, err = f.text()
		case 3:
			unit, err = f.text()
		}
		return err
	})
	if err != nil {
		return err
	}
	head := appendText([]byte(`{"metric":`), name)
	if unit != "" {
		head = appendText(join(head, `,"unit":`), unit)
	}
	return each(from, func(f field) error {
		m := metric.byNumber(f.number)
		if m == nil || m.is < message {
			return nil
		}
		if err := f.of(lengthy); err != nil {
			return err
		}
		return w.data(m, name, head, f.b)
	})
}

// data is a Gauge, Sum, Histogram, ExponentialHistogram or Summary.
func (w *walk) data(m *member, name string, head, from []byte) error {
	about := join(nil, `,"type":"`, m.name, `"`)
	points := m.is.byNumber(1)
	for _, more := range m.is.members()[1:] {
		var value []byte
		err := each(from, func(f field) (err error) {
			if f.number == uint64(more.number) {
				value, err = more.value(nil, f, 0)
			}
			return err
		})
		if err == nil {
			about, err = more.appendTo(about, value)
		}
		if err != nil {
			return err
		}
	}
	return inside(from, 1, func(from []byte) error {
		point, err := appendMembers(nil, from, points.is, 0)
		if errors.Is(err, errNoValue) {
			w.refuse(name, err)
			return nil
		}
		if err != nil {
			return err
		}
		return w.take(name, head, about, point, w.scope, w.resource)
	})
}

// take makes a reading of its parts.
func (w *walk) take(name string, parts ...[]byte) error {
	size := 1
	for _, p := range parts {
		size += len(p)
	}
	if name == "" {
		w.refuse(name, errNoName)
		return nil
	}
	if size > w.bounds.One {
		w.refuse(name, fmt.Errorf("it makes a reading of %d bytes, and a reading has at most %d", size, w.bounds.One))
		return nil
	}
	if w.size += size; w.size > w.bounds.All {
		return fmt.Errorf("more than %d bytes: %w", w.bounds.All, ErrTooMuch)
	}
	w.Bodies = append(w.Bodies, append(bytes.Join(parts, nil), '}'))
	return nil
}

func (w *walk) refuse(name string, why error) {
	if w.Refused++; w.Refused == 1 {
		w.Why = fmt.Sprintf("a data point of %.80q: %v", name, why)
	}
}
