package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// flipBytes is how large the spool is in which a bit flips.
const flipBytes = 64 << 20

// flip damages a spool that is full of readings by one bit, and sees what comes of them.
func flip(ctx context.Context, b *bench) error {
	lost, wrong := 0, 0
	var taking []float64
	var waited int
	for range b.rounds {
		n, t, took, err := b.flipOnce(ctx)
		if err != nil {
			return err
		}
		b.tell("%d of %d lost, %d wrong, takes readings after %s", n-t.unique, n, t.wrong, took.Round(time.Millisecond))
		lost, wrong, waited = max(lost, n-t.unique), wrong+t.wrong, n
		taking = append(taking, ms(took))
	}
	what := fmt.Sprintf("of %s after one flipped bit", count(waited))
	b.results.judge(verdict{Row: "flip", What: "lost " + what + ", at most", Measured: fmt.Sprint(lost), Goal: "≤ 1", Met: lost <= 1})
	b.results.judge(verdict{Row: "flip", What: "wrong " + what, Measured: fmt.Sprint(wrong), Goal: "0", Met: wrong == 0})
	b.results.judge(verdict{Row: "flip", What: "a reading is accepted, with a spool of 64 MB", Measured: number(median(taking)) + " ms", Goal: "< 1 s", Met: median(taking) < 1000})
	return nil
}

func (b *bench) flipOnce(ctx context.Context) (n int, t tally, taking time.Duration, err error) {
	p, err := startProxy(b.broker.tls, 0)
	if err != nil {
		return 0, t, 0, err
	}
	defer p.close()
	a, err := b.newAgent(wish{hub: p.address(), spool: "256MiB"})
	if err != nil {
		return 0, t, 0, err
	}
	defer func() { a.kill() }()
	n = b.scale(flipBytes / (size + 40)) // a record is a reading and about so much more
	j := job{first: b.number(n + 1), n: n}
	if _, err := b.fillAway(ctx, a, p, j); err != nil {
		return 0, t, 0, err
	}
	a.kill()
	where, err := flipBit(a.file("state/spool"))
	if err != nil {
		return 0, t, 0, err
	}
	b.tell("%s in a spool of %.1f MB", where, mega(a.spoolBytes()))
	p.setAway(false)
	b.counter.expect(j.first, n+1)
	began := time.Now()
	if err := a.start(); err != nil {
		return 0, t, 0, err
	}
	if err := a.intake(ctx); err != nil {
		return 0, t, 0, err
	}
	if err := a.door.feed(ctx, newSource(j.first+n, 1), func(int, int) {}); err != nil {
		return 0, t, 0, err
	}
	taking = time.Since(began)
	t, err = b.counter.await(ctx, n+1, 5*time.Second)
	return n + 1, t, taking, err
}

// flipBit changes one bit somewhere in what was written to a spool's segments.
func flipBit(dir string) (where string, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return "", err
	}
	for range 1000 {
		file := files[rand.IntN(len(files))]
		b, err := os.ReadFile(file)
		if err != nil || len(b) < 64<<10 {
			continue // the cursor, or a segment that has just begun
		}
		at := rand.IntN(len(b))
		if b[at] == 0 {
			continue // perhaps nothing was written there
		}
		b[at] ^= 1 << rand.IntN(8)
		return fmt.Sprintf("flipped a bit of byte %d of %s", at, filepath.Base(file)), overwrite(file, at, b[at])
	}
	return "", errors.New("there is no segment to damage")
}

func overwrite(file string, at int, value byte) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte{value}, int64(at))
	return errors.Join(err, f.Close())
}
