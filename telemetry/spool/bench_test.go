package spool

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"
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
	s := open(b, dir, Limits{MaxBytes: 1 << 30}, nil)
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

// BenchmarkMillion opens a spool with 1,000,000 readings and sends them with 64 in flight.
func BenchmarkMillion(b *testing.B) {
	const n = 1_000_000
	dir, l := b.TempDir(), Limits{MaxBytes: 1 << 30}
	s := open(b, dir, l, nil)
	rs := make([]Reading, 10_000)
	for i := range rs {
		rs[i] = Reading{Stream: "sensors", Body: payload}
	}
	for range n / len(rs) {
		if _, err := s.Put(context.Background(), rs...); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	rs = nil
	b.ResetTimer()
	for range b.N {
		runtime.GC()
		start := time.Now()
		s, err := Open(dir, l, nil)
		if err != nil || s.Stats().Depth != n || len(s.Peek(16)) != 16 {
			b.Fatal(err, s.Stats())
		}
		b.ReportMetric(float64(time.Since(start).Microseconds())/1000, "open-ms")
		heap := uint64(0)
		for sent := uint64(0); sent < n; {
			got := s.After(sent, 16, 64<<10)
			sent += uint64(len(got))
			if sent%100_000 < 16 {
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				heap = max(heap, m.HeapAlloc)
			}
		}
		b.ReportMetric(float64(heap)/(1<<20), "heap-MB")
		b.ReportMetric(n/b.Elapsed().Seconds()*float64(b.N), "readings/s")
		s.head.close()
	}
}
