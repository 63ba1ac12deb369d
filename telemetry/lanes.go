package telemetry

import (
	"context"
	"time"

	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// Lane is a queue on its way to the hub, beside others.
type Lane struct {
	Name string
	// ID names the queue for good, like (*spool.Spool).ID: a message is named by it and its number. "" = the name that the
	// Dial has.
	ID       string
	Queue    Queue
	Priority int // higher goes first; equal ones go in turn
	Pack     Pack
}

// Pack says how readings of one stream go together in one message. The zero value sends each by itself.
type Pack struct {
	// Bytes is how large a message may become with its properties; IoT Hub meters in steps of 4 KB ("IoT Hub quotas and
	// throttling", Microsoft Learn). A reading that is larger goes by itself. 0 = one reading a message.
	Bytes  int
	Age    time.Duration // how long a reading may wait for others; 0 = it does not, what is there goes together
	Format string        // "json" (the default) or "cbor"
	Gzip   bool
}

// Store keeps readings. A *spool.Spool is one.
type Store interface {
	Appender
	// Put stores all readings, or none, and returns the number of the first; the others follow it.
	Put(ctx context.Context, readings ...spool.Reading) (first uint64, err error)
}

// Lanes brings each reading into the lane of its stream. Its methods may be called side by side.
type Lanes struct {
	usual Store
	own   map[string]Store
	news  chan struct{}
}

// NewLanes returns the way in: to own[stream] where that is, else to usual.
func NewLanes(usual Store, own map[string]Store) *Lanes {
	return &Lanes{usual: usual, own: own, news: make(chan struct{}, 1)}
}

// News rings after each reading that a lane has taken. It is what PumpConfig.News wants.
func (l *Lanes) News() <-chan struct{} { return l.news }

func (l *Lanes) of(stream string) Store {
	if s, ok := l.own[stream]; ok {
		return s
	}
	return l.usual
}

func (l *Lanes) ring() {
	select {
	case l.news <- struct{}{}:
	default:
	}
}

// Append stores body as a reading of stream in its lane, as that lane's store does.
func (l *Lanes) Append(ctx context.Context, stream string, body []byte) (seq uint64, err error) {
	defer l.ring()
	return l.of(stream).Append(ctx, stream, body)
}

// Put stores the readings in one commit for each lane, and returns the number of the first reading. Where they are of
// one lane it is all or nothing; else an error says that some lanes may have taken theirs.
func (l *Lanes) Put(ctx context.Context, readings ...spool.Reading) (first uint64, err error) {
	defer l.ring()
	for i, rest := 0, readings; len(rest) > 0; i++ {
		var mine, others []spool.Reading
		if mine, others = l.split(rest); len(others) == 0 {
			mine = rest
		}
		seq, err := l.of(mine[0].Stream).Put(ctx, mine...)
		if err != nil {
			return 0, err
		}
		if i == 0 {
			first = seq
		}
		rest = others
	}
	return first, nil
}

// split takes the readings that share the lane of the first.
func (l *Lanes) split(readings []spool.Reading) (mine, others []spool.Reading) {
	store := l.of(readings[0].Stream)
	for _, r := range readings {
		if l.of(r.Stream) == store {
			mine = append(mine, r)
		} else {
			others = append(others, r)
		}
	}
	return mine, others
}
