package remote

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	// linger is how long a program that has asked for calls is waited for when it is not asking.
	linger = 2 * time.Minute
	// maxNames bounds the methods of all programs, maxQueued the calls that wait for one program.
	maxNames  = 64
	maxQueued = 8
)

// programs are the methods that programs on this device answer. Who asks for the calls of a name has it.
type programs struct {
	mu      sync.Mutex
	names   map[string]*program
	handed  map[string]*errand // calls that a program works on, by ID
	waiting map[string][]*errand
	news    chan struct{} // closed when a call comes
}

// program is who answers a name.
type program struct {
	asking int // at this moment
	seen   time.Time
}

// errand is one call for a program.
type errand struct {
	id, name string
	payload  json.RawMessage
	ends     time.Time
	answer   chan answer
}

func newPrograms() programs {
	return programs{names: map[string]*program{}, handed: map[string]*errand{}, waiting: map[string][]*errand{}, news: make(chan struct{})}
}

// known are the names that have a program, sorted.
func (p *programs) known() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []string
	for name, one := range p.names {
		if one.asking > 0 || time.Since(one.seen) < linger {
			all = append(all, name)
		} else if len(p.waiting[name]) == 0 {
			delete(p.names, name)
		}
	}
	slices.Sort(all)
	return all
}

func (p *programs) know(name string) bool { return slices.Contains(p.known(), name) }

// call hands a call to the program that asks for it, and waits for its answer.
func (p *programs) call(ctx context.Context, name string, payload []byte) answer {
	e := &errand{id: newID(), name: name, payload: payload, answer: make(chan answer, 1)}
	if len(payload) == 0 {
		e.payload = json.RawMessage("null")
	}
	e.ends, _ = ctx.Deadline()
	if !p.queue(e) {
		return failed(http.StatusTooManyRequests, "%d calls of %s wait already", maxQueued, clean(name))
	}
	defer p.forget(e)
	select {
	case a := <-e.answer:
		return a
	case <-ctx.Done():
		return failed(http.StatusGatewayTimeout, "the program that has %s did not answer in time", clean(name))
	}
}

func (p *programs) queue(e *errand) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting[e.name]) >= maxQueued {
		return false
	}
	p.waiting[e.name] = append(p.waiting[e.name], e)
	p.tell()
	return true
}

// tell wakes all who ask. The caller holds p.mu.
func (p *programs) tell() {
	close(p.news)
	p.news = make(chan struct{})
}

func (p *programs) forget(e *errand) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.handed, e.id)
	p.waiting[e.name] = slices.DeleteFunc(p.waiting[e.name], func(other *errand) bool { return other == e })
	if len(p.waiting[e.name]) == 0 {
		delete(p.waiting, e.name)
	}
}

// next returns the oldest call of these names, or nil when ctx has ended before there was one. Meanwhile, and a little
// longer, the names are the caller's; ok is false where there are too many names.
func (p *programs) next(ctx context.Context, names []string) (e *errand, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.register(names) {
		return nil, false
	}
	defer p.leave(names)
	for {
		if e := p.take(names); e != nil {
			return e, true
		}
		news := p.news
		p.mu.Unlock()
		select {
		case <-news:
		case <-ctx.Done():
		}
		p.mu.Lock()
		if ctx.Err() != nil {
			return nil, true
		}
	}
}

func (p *programs) register(names []string) bool {
	fresh := 0
	for _, name := range names {
		if p.names[name] == nil {
			fresh++
		}
	}
	if len(p.names)+fresh > maxNames {
		return false
	}
	for _, name := range names {
		if p.names[name] == nil {
			p.names[name] = &program{}
		}
		p.names[name].asking++
	}
	return true
}

func (p *programs) leave(names []string) {
	for _, name := range names {
		p.names[name].asking--
		p.names[name].seen = time.Now()
	}
}

func (p *programs) take(names []string) *errand {
	for _, name := range names {
		if waiting := p.waiting[name]; len(waiting) > 0 {
			e := waiting[0]
			p.waiting[name] = waiting[1:]
			p.handed[e.id] = e
			return e
		}
	}
	return nil
}

// giveBack puts a call that did not reach its program first in the queue.
func (p *programs) giveBack(e *errand) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.handed[e.id] != nil {
		delete(p.handed, e.id)
		p.waiting[e.name] = append([]*errand{e}, p.waiting[e.name]...)
		p.tell()
	}
}

// answer ends the call with that ID, and reports whether somebody still waited for it.
func (p *programs) answer(id string, a answer) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.handed[id]
	if e == nil {
		return false
	}
	delete(p.handed, id)
	e.answer <- a
	return true
}
