package remote

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"sync"
	"time"
)

// inbox holds the messages of the cloud until a program has taken them: as many as the hub has for a device, which keeps
// them all the while.
type inbox struct {
	mu   sync.Mutex
	all  []*letter     // in the order of their arrival
	done []receipt     // of messages that the hub may send again, since it could not be told
	news chan struct{} // closed when a message comes or is given back
}

// receipt is for a message that was taken.
type receipt struct {
	key  string
	when time.Time
}

const (
	// maxReceipts is how many messages a hub has for a device, longest how long it has them: then another one like it is
	// no repeat ("Understand cloud-to-device messaging from an IoT hub").
	maxReceipts = 50
	longest     = 48 * time.Hour
)

// letter is one message.
type letter struct {
	id         string
	key        string // what a repeat of it has, too; "" where a repeat cannot be known
	properties map[string]string
	body       []byte
	waiting    int       // deliveries of the hub that wait for the answer
	lease      time.Time // a program has it until then
	taken      chan struct{}
}

func newInbox() inbox { return inbox{news: make(chan struct{})} }

// Message holds a cloud-to-device message until a program has acknowledged it, and returns nil then. It returns an error
// when ctx ends before: the hub will send the message again.
func (r *Remote) Message(ctx context.Context, properties map[string]string, body []byte) error {
	l := r.inbox.put(properties, body)
	if l == nil {
		return nil
	}
	select {
	case <-l.taken:
		return nil
	case <-ctx.Done():
		return r.inbox.detach(l, ctx.Err())
	}
}

// put adds a delivery of the hub; nil is one that a program has acknowledged since.
func (i *inbox) put(properties map[string]string, body []byte) *letter {
	key := repeatKey(properties, body)
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.signed(key) {
		return nil
	}
	for _, l := range i.all {
		if key != "" && l.key == key {
			l.waiting++
			return l
		}
	}
	l := &letter{id: newID(), key: key, properties: properties, body: body, waiting: 1, taken: make(chan struct{})}
	i.all = append(i.all, l)
	i.tell()
	return l
}

// signed reports whether that message was taken before. Its receipt is kept for as long as an older message is here: the hub
// is told in order.
func (i *inbox) signed(key string) bool {
	i.done = slices.DeleteFunc(i.done, func(r receipt) bool { return time.Since(r.when) > longest })
	at := slices.IndexFunc(i.done, func(r receipt) bool { return r.key == key })
	if at >= 0 && len(i.all) == 0 {
		i.done = slices.Delete(i.done, at, at+1)
	}
	return at >= 0
}

// repeatKey tells a repeat of a message from another one: by its ID, and by all else, since whoever sends may give the
// same ID twice. Without an ID two messages may well be equal.
func repeatKey(properties map[string]string, body []byte) string {
	if properties["$.mid"] == "" {
		return ""
	}
	h := sha256.New()
	for _, k := range slices.Sorted(maps.Keys(properties)) {
		h.Write([]byte(k + "\x00" + properties[k] + "\x00"))
	}
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil))
}

// detach ends a delivery that the hub will repeat, with err. What a program works on stays its.
func (i *inbox) detach(l *letter, err error) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	select {
	case <-l.taken:
		return nil
	default:
	}
	l.waiting--
	i.sweep()
	return err
}

// sweep forgets what neither the hub nor a program waits for.
func (i *inbox) sweep() {
	now := time.Now()
	i.all = slices.DeleteFunc(i.all, func(l *letter) bool {
		return l.waiting == 0 && (l.key == "" || !l.lease.After(now))
	})
}

func (i *inbox) tell() {
	close(i.news)
	i.news = make(chan struct{})
}

// next returns the oldest message that no program has, for as long as the lease is; nil when ctx has ended before there
// was one. A message whose lease has ended without word is offered again.
func (i *inbox) next(ctx context.Context, lease time.Duration) *letter {
	i.mu.Lock()
	defer i.mu.Unlock()
	for {
		i.sweep()
		now := time.Now()
		wait := lease
		for _, l := range i.all {
			if left := l.lease.Sub(now); left > 0 {
				wait = min(wait, left)
				continue
			}
			l.lease = now.Add(lease)
			return l
		}
		if !i.rest(ctx, wait) {
			return nil
		}
	}
}

// rest waits for news, or until a lease ends after d. It is false when ctx has ended.
func (i *inbox) rest(ctx context.Context, d time.Duration) bool {
	news := i.news
	i.mu.Unlock()
	defer i.mu.Lock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-news:
	case <-timer.C:
	case <-ctx.Done():
		return false
	}
	return true
}

// acknowledge lets the hub forget the message, and reports whether it was there. Where the hub cannot be told now, because
// there is no session or an older message is here, it will be when it sends the message again.
func (i *inbox) acknowledge(id string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	at := i.find(id)
	if at < 0 {
		return false
	}
	l := i.all[at]
	i.all = slices.Delete(i.all, at, at+1)
	if l.key != "" && (l.waiting == 0 || at > 0) {
		i.done = append(i.done, receipt{l.key, time.Now()})
		i.done = i.done[max(len(i.done)-maxReceipts, 0):]
	}
	close(l.taken)
	return true
}

// release offers the message to others now, and reports whether it was there.
func (i *inbox) release(id string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	at := i.find(id)
	if at >= 0 {
		i.all[at].lease = time.Time{}
		i.sweep()
		i.tell()
	}
	return at >= 0
}

func (i *inbox) find(id string) int {
	return slices.IndexFunc(i.all, func(l *letter) bool { return l.id == id })
}

// newID is one that nobody can guess, and that no run of the agent before has given.
func newID() string {
	b := make([]byte, 12)
	_, _ = rand.Read(b) // it never fails
	return hex.EncodeToString(b)
}
