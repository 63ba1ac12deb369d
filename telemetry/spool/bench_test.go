package spool

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
)

var payload = bytes.Repeat([]byte("0123456789"), 20)

func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			s := open(b, b.TempDir(), Limits{}, nil)
			b.ReportAllocs()
			var wg sync.WaitGroup
			for c := range callers {
				n := b.N / callers
				if c == 0 {
					n += b.N % callers
				}
				wg.Go(func() {
					for range n {
						if _, err := s.Append(context.Background(), "sensors", payload); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "readings/s")
		})
	}
}

// backlog leaves n readings in dir.
func backlog(b *testing.B, dir string, n int) {
	b.Helper()
	s := open(b, dir, Limits{}, nil)
	var wg sync.WaitGroup
	for range 500 {
		wg.Go(func() {
			for range n / 500 {
				if _, err := s.Append(context.Background(), "sensors", payload); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkOpen100k(b *testing.B) {
	dir := b.TempDir()
	backlog(b, dir, 100_000)
	b.ResetTimer()
	for range b.N {
		s, err := Open(dir, Limits{}, nil)
		if err != nil || s.Stats().Depth != 100_000 || len(s.Peek(16)) != 16 {
			b.Fatal(err, s.Stats())
		}
		s.head.close()
	}
}

func BenchmarkDrain100k(b *testing.B) {
	for range b.N {
		b.StopTimer()
		dir := b.TempDir()
		backlog(b, dir, 100_000)
		s := open(b, dir, Limits{}, nil)
		b.StartTimer()
		for next := uint64(1); next <= 100_000; {
			got := s.Peek(16)
			next += uint64(len(got))
			if err := s.Ack(next - 1); err != nil {
				b.Fatal(err)
			}
		}
	}
}
