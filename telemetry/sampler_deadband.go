package telemetry

import (
	"math"
	"reflect"
	"strings"
	"time"
)

// band is what a probe has reported, to see what has moved since.
type band struct {
	told map[string]any
	full time.Time // when all of it was
}

// pass is what is to be reported of said, as nested objects: all of it at each heartbeat, otherwise what has moved by more
// than width, and what is new.
func (b *band) pass(said map[string]any, width float64, heartbeat time.Duration, at time.Time) map[string]any {
	if width <= 0 {
		return nest(said)
	}
	if b.told == nil || at.Sub(b.full) >= heartbeat {
		b.told, b.full = said, at
		return nest(said)
	}
	news := map[string]any{}
	for path, v := range said {
		if old, known := b.told[path]; !known || moved(old, v, width) {
			news[path], b.told[path] = v, v
		}
	}
	return nest(news)
}

// moved reports whether new is further from old than width. What is no number moves when it changes; a range moves when
// one of its numbers does, but for how many reads it is made of.
func moved(old, new any, width float64) bool {
	a, isA := float(old)
	b, isB := float(new)
	if isA && isB {
		return math.Abs(a-b) > width
	}
	from, isA := old.(map[string]any)
	to, isB := new.(map[string]any)
	if !isA || !isB || from["n"] == nil {
		return !reflect.DeepEqual(old, new)
	}
	return moved(from["min"], to["min"], width) || moved(from["mean"], to["mean"], width) || moved(from["max"], to["max"], width)
}

// nest makes objects in objects of paths.
func nest(flat map[string]any) map[string]any {
	root := map[string]any{}
	for path, v := range flat {
		at, rest, deeper := root, path, true
		for {
			var name string
			if name, rest, deeper = strings.Cut(rest, step); !deeper {
				at[name] = v
				break
			}
			below, ok := at[name].(map[string]any)
			if !ok {
				below = map[string]any{}
				at[name] = below
			}
			at = below
		}
	}
	return root
}
