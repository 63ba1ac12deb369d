package web

import (
	"context"
	"crypto"
	"fmt"
	"io"
	"sync"
	"time"
)

// stopwatch ends a context after a time in which pauses do not count.
type stopwatch struct {
	mu     sync.Mutex
	cancel context.CancelCauseFunc
	timer  *time.Timer
	since  time.Time
	left   time.Duration
}

func newStopwatch(ctx context.Context, limit time.Duration) (context.Context, *stopwatch) {
	ctx, cancel := context.WithCancelCause(ctx)
	late := fmt.Errorf("no answer within %v", limit)
	w := &stopwatch{cancel: cancel, left: limit, since: time.Now()}
	w.timer = time.AfterFunc(limit, func() { cancel(late) })
	return ctx, w
}

func (w *stopwatch) pause() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer.Stop() {
		w.left -= time.Since(w.since)
	}
}

func (w *stopwatch) resume() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.since = time.Now()
	w.timer.Reset(max(w.left, 0))
}

func (w *stopwatch) end() {
	w.timer.Stop()
	w.cancel(nil)
}

// witness stops the watch while the hardware signs, which takes a slow chip seconds, and remembers why it did not
// sign: crypto/tls passes on the text of that error only, and the label that says who can help would be lost.
type witness struct {
	crypto.Signer

	mu    sync.Mutex
	watch *stopwatch
	err   error
}

func (w *witness) begin(watch *stopwatch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.watch, w.err = watch, nil
}

func (w *witness) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func (w *witness) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	w.mu.Lock()
	watch := w.watch
	w.mu.Unlock()
	watch.pause()
	signature, err := w.Signer.Sign(rand, digest, opts)
	watch.resume()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
	return signature, err
}
