package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/commands"
)

// benchmark is key bench: a signature at a time, as TLS asks for them.
type benchmark struct {
	duration  time.Duration
	algorithm string
}

// speed is what key bench found.
type speed struct {
	Key        string  `json:"key"`
	Signatures int     `json:"signatures"`
	PerSecond  float64 `json:"per_second"`
	P50MS      float64 `json:"p50_ms"`
	P95MS      float64 `json:"p95_ms"`
	MaxMS      float64 `json:"max_ms"`
}

func (b *benchmark) flags(f *flag.FlagSet) {
	f.DurationVar(&b.duration, "for", 5*time.Second, "how `long` to sign")
	f.StringVar(&b.algorithm, "algorithm", "", "of the key that is made where none is named (default keys.algorithm)")
}

func (b *benchmark) command(ctx context.Context, o *commands.Options, out io.Writer) error {
	if b.duration <= 0 || b.duration > time.Hour {
		return fault.AskOperator(fmt.Errorf("key bench for %v", b.duration), "give --for a time of up to an hour, as 5s")
	}
	s, err := b.measure(ctx, o)
	if err != nil {
		return err
	}
	if o.JSON {
		return commands.PrintJSON(out, s)
	}
	_, err = fmt.Fprintf(out, "%s: %d signatures, %.1f a second; p50 %.2f ms, p95 %.2f ms, longest %.2f ms\n",
		s.Key, s.Signatures, s.PerSecond, s.P50MS, s.P95MS, s.MaxMS)
	return err
}

// measure uses the key that is named, or one of its own.
func (b *benchmark) measure(ctx context.Context, o *commands.Options) (speed, error) {
	if len(o.Args) > 0 {
		w, err := lookWorkbench(o)
		if err != nil {
			return speed{}, err
		}
		defer w.close()
		key, err := w.store.Open(ctx, o.Args[0])
		if err != nil {
			return speed{}, err
		}
		return b.sign(ctx, o.Args[0], key)
	}
	w, err := openWorkbench(o, b.algorithm)
	if err != nil {
		return speed{}, err
	}
	defer w.close()
	if err := w.store.Delete(ctx, trialKey); err != nil {
		return speed{}, err
	}
	key, err := w.store.Create(ctx, trialKey)
	if err != nil {
		return speed{}, err
	}
	s, err := b.sign(ctx, "a fresh key of "+w.config.Keys.Algorithm, key)
	return s, errors.Join(err, w.store.Delete(context.WithoutCancel(ctx), trialKey))
}

func (b *benchmark) sign(ctx context.Context, name string, key crypto.Signer) (speed, error) {
	digest := sha256.Sum256([]byte("devid-agent key bench"))
	var took []time.Duration
	start := time.Now()
	for time.Since(start) < b.duration && ctx.Err() == nil {
		begun := time.Now()
		if _, err := key.Sign(rand.Reader, digest[:], crypto.SHA256); err != nil {
			return speed{}, err
		}
		took = append(took, time.Since(begun))
	}
	if err := ctx.Err(); err != nil {
		return speed{}, err
	}
	all := time.Since(start)
	slices.Sort(took)
	at := func(percent int) float64 { return milliseconds(took[(len(took)-1)*percent/100]) }
	return speed{Key: name, Signatures: len(took), PerSecond: float64(len(took)) / all.Seconds(), P50MS: at(50), P95MS: at(95), MaxMS: at(100)}, nil
}
