package ingest

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/devid-agent/devid-agent/telemetry/spool"
)

const payload = `{"celsius":21.5,"hall":"north","note":"`

// body200 has 200 bytes.
var body200 = payload + strings.Repeat("x", 200-len(payload)-2) + `"}`

// each divides b.N among so many clients, and reports readings a second.
func each(b *testing.B, clients int, do func(n int)) {
	b.Helper()
	b.ResetTimer()
	var all sync.WaitGroup
	for i := range clients {
		n := b.N / clients
		if i == 0 {
			n += b.N % clients
		}
		all.Go(func() { do(n) })
	}
	all.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "readings/s")
}

// BenchmarkWays stores readings of 200 bytes on a disk, by as many clients, each way.
func BenchmarkWays(b *testing.B) {
	for _, clients := range []int{1, 8, 64} {
		for name, way := range map[string]func(*testing.B, *spool.Spool, int){"Append": byAppend, "HTTP": byHTTP, "HTTP batch of 100": byBatch, "MQTT window of 100": byMQTT} {
			b.Run(fmt.Sprintf("%s/%d", name, clients), func(b *testing.B) {
				live, err := spool.Open(b.TempDir(), spool.Limits{MaxBytes: 256 << 20}, nil)
				if err != nil {
					b.Fatal(err)
				}
				defer live.Close()
				way(b, live, clients)
			})
		}
	}
}

func byAppend(b *testing.B, live *spool.Spool, clients int) {
	each(b, clients, func(n int) {
		for range n {
			if _, err := live.Append(b.Context(), "boiler", []byte(body200)); err != nil {
				b.Error(err)
			}
		}
	})
}

func byHTTP(b *testing.B, live *spool.Spool, clients int) {
	post(b, live, clients, typeJSON, body200, 1)
}

func byBatch(b *testing.B, live *spool.Spool, clients int) {
	post(b, live, clients, typeLines, strings.Repeat(body200+"\n", 100), 100)
}

func post(b *testing.B, live *spool.Spool, clients int, kind, body string, readings int) {
	b.Helper()
	w := serve(b, &Server{Spool: live, Conns: clients + 1})
	w.http.Transport.(*http.Transport).MaxIdleConnsPerHost = clients
	each(b, clients, func(n int) {
		for ; n > 0; n -= readings {
			r, err := w.http.Post("http://device/v1/telemetry/boiler", kind, strings.NewReader(body))
			if err != nil || r.StatusCode != 200 {
				b.Error(r, err)
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			_ = r.Body.Close()
		}
	})
}

func byMQTT(b *testing.B, live *spool.Spool, clients int) {
	const window = 100
	w := listen(b, &MQTT{Server: &Server{Spool: live}})
	each(b, clients, func(n int) {
		c := w.connected(b, "")
		room := make(chan struct{}, window)
		go func() {
			for i := range n {
				room <- struct{}{}
				_, _ = c.Write(message1(uint16(i%window+1), "boiler", body200))
			}
		}()
		answer := make([]byte, 4)
		for range n {
			if _, err := io.ReadFull(c, answer); err != nil {
				b.Error(err)
				return
			}
			<-room
		}
	})
}
