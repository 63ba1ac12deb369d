package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/devid-agent/devid-agent/examples/process"
	"github.com/devid-agent/devid-agent/sim"
)

// Of all measurements.
const (
	oneWay   = 25 * time.Millisecond // delay of the proxy, where there is one
	topic    = "devices/bench/messages/events/"
	patience = 15 * time.Second // without a reading, until a peer is taken to be done
)

// bench is what everything is measured on: one broker, one cloud, one TPM, one witness.
type bench struct {
	options
	dir, cache string
	cloud      *sim.Cloud
	chip       *chip
	broker     *broker
	counter    *counter
	client     credential // of the peers
	numbers    int        // of readings that were given out
	devices    int
	results    results
}

func (b *bench) file(name string) string { return filepath.Join(b.dir, name) }

// open builds the world: in one directory on a disk, since flash is what this is about.
func (b *bench) open(ctx context.Context) (err error) {
	if b.dir, err = os.MkdirTemp(b.scratch, "bench-"); err != nil {
		return err
	}
	if err := b.prepare(ctx); err != nil {
		return err
	}
	policy := func(p *sim.Policy) { p.Keep, p.Observe = 1000, b.observe }
	if b.cloud, err = sim.Start(ctx, sim.Temper{}, policy); err != nil {
		return err
	}
	if b.chip, err = startChip(ctx, b.dir); err != nil {
		return err
	}
	if b.broker, err = startBroker(ctx, b.dir, b.cloud); err != nil {
		return err
	}
	if b.counter, err = startCounter(ctx, b.broker.plain); err != nil {
		return err
	}
	if b.client, err = makeClient(b.cloud, b.dir, "peer"); err != nil {
		return err
	}
	b.client.roots = b.broker.server.roots
	return os.WriteFile(b.file("cloud.pem"), b.cloud.RootsPEM(), 0o644)
}

// observe lets the witness count what the simulated hub accepts, too.
func (b *bench) observe(m sim.Message) { b.counter.message(time.Now(), []byte(m.Topic), m.Body) }

func (b *bench) close() {
	if b.counter != nil {
		b.counter.close()
	}
	if b.broker != nil {
		process.Kill(b.broker.process)
	}
	if b.chip != nil {
		b.chip.stop()
	}
	if b.cloud != nil {
		_ = b.cloud.Close()
	}
	_ = os.RemoveAll(b.dir)
}

// number gives out n numbers that no reading has had, and makes the counter expect them.
func (b *bench) number(n int) (first int) {
	first = b.numbers
	b.numbers += n
	b.counter.expect(first, n)
	return first
}

// scale is n, or a twentieth where a person is in a hurry.
func (b *bench) scale(n int) int {
	if b.quick {
		return max(n/20, 100)
	}
	return n
}

// tell prints what goes on.
func (b *bench) tell(format string, args ...any) {
	fmt.Printf("%7.1f s  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}
