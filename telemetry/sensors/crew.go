package sensors

import (
	"context"
	"fmt"
	"sync"
)

// crew reads parts of a source side by side, each by a reader of its own. A part whose reader hangs in the kernel is not
// read again before that has come back, and holds up no other part.
type crew struct {
	mu   sync.Mutex
	away map[string]bool // readers that have not come back
}

// readers is how many a crew has. Each that hangs holds a thread.
const readers = 8

type part struct {
	name  string
	value any
	err   error
}

// read asks each part by ask and keeps what it answers before ctx ends. Parts that hang are told in f.
func (c *crew) read(ctx context.Context, f *found, names []string, ask func(name string) (any, error)) {
	back := make(chan part, len(names))
	out, next := 0, 0
	for {
		for ; next < len(names) && ctx.Err() == nil; next++ {
			name := names[next]
			free, hangs := c.send(name)
			if hangs {
				f.broken(fmt.Errorf("%s hangs: a read has not come back", name))
				continue
			}
			if !free {
				break
			}
			out++
			go func() { back <- c.fetch(name, ask) }()
		}
		if out == 0 {
			c.skipped(ctx, f, names[next:])
			return
		}
		select {
		case <-ctx.Done():
			c.late(f, names)
			return
		case p := <-back:
			out--
			f.broken(p.err)
			if p.value != nil {
				f.values[p.name] = p.value
			}
		}
	}
}

// send reports whether there is a reader for the part, and whether one is with it already.
func (c *crew) send(name string) (free, hangs bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away[name] || len(c.away) == readers {
		return false, c.away[name]
	}
	if c.away == nil {
		c.away = map[string]bool{}
	}
	c.away[name] = true
	return true, false
}

func (c *crew) fetch(name string, ask func(string) (any, error)) part {
	value, err := ask(name)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.away, name)
	if err != nil && !absent(err) {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return part{name, value, err}
}

// late tells of the parts that have not answered in time.
func (c *crew) late(f *found, names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range names {
		if c.away[name] {
			f.broken(fmt.Errorf("%s has not answered in time", name))
		}
	}
}

// skipped tells of the parts for which no reader was left.
func (c *crew) skipped(ctx context.Context, f *found, names []string) {
	if ctx.Err() != nil {
		return
	}
	for _, name := range names {
		f.broken(fmt.Errorf("%s was not read: %d readers hang", name, readers))
	}
}
