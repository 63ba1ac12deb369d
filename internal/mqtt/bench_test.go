package mqtt

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// BenchmarkPublish is 200-byte readings, QoS 1, to mosquitto over mutual TLS, a window of them in flight: ours beside paho
// as its examples use it. The processor time is this process's alone, the broker has its own:
//
//	go test -run '^$' -bench Publish -benchtime 100000x -count 3 ./internal/mqtt
func BenchmarkPublish(b *testing.B) {
	ca := newAuthority(b, "ca")
	o := Options{Host: "localhost", Address: mosquitto(b, ca), Roots: ca.pool(), ClientID: "dev1", Certificate: ca.issue(b, "dev1", time.Now().Add(-time.Hour))}
	eventually(b, o).Close()
	for _, window := range []int{16, 100, 1000} {
		b.Run(fmt.Sprintf("ours/window=%d", window), func(b *testing.B) { ours(b, o, window) })
		b.Run(fmt.Sprintf("paho/window=%d", window), func(b *testing.B) { bare(b, o, window) })
	}
}

const readingTopic = "dev/dev1/messages/events/x"

func ours(b *testing.B, o Options, window int) {
	up := &metered{}
	o.Dial = up.dial
	c := eventually(b, o)
	defer c.Close()
	body := make([]byte, 200)
	flights := make([]*Flight, window)
	counted := counting(b, up)
	for i := range b.N {
		if f := flights[i%window]; f != nil {
			if err := f.Wait(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		flights[i%window] = c.Publish(readingTopic, body)
	}
	for i := range min(window, b.N) {
		if err := flights[i].Wait(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	counted()
}

func bare(b *testing.B, o Options, window int) {
	p := paho.NewClientOptions().AddBroker("ssl://" + o.Address).SetClientID(o.ClientID).SetMessageChannelDepth(uint(window))
	up := &metered{}
	p.SetCustomOpenConnectionFn(func(*url.URL, paho.ClientOptions) (net.Conn, error) {
		c, err := up.dial(b.Context(), "tcp", o.Address)
		return tls.Client(c, &tls.Config{ServerName: o.Host, RootCAs: o.Roots, Certificates: []tls.Certificate{o.Certificate}}), err
	})
	c := paho.NewClient(p)
	if t := c.Connect(); t.Wait() && t.Error() != nil {
		b.Fatal(t.Error())
	}
	defer c.Disconnect(100)
	body := make([]byte, 200)
	tokens := make([]paho.Token, window)
	counted := counting(b, up)
	for i := range b.N {
		if t := tokens[i%window]; t != nil && t.Wait() && t.Error() != nil {
			b.Fatal(t.Error())
		}
		tokens[i%window] = c.Publish(readingTopic, 1, false, body)
	}
	for i := range min(window, b.N) {
		tokens[i].Wait()
	}
	counted()
}

// counting starts the clocks; what it returns stops them.
func counting(b *testing.B, up *metered) func() {
	b.ReportAllocs()
	b.ResetTimer()
	start, before, bytes := time.Now(), processor(), up.bytes.Load()
	return func() {
		b.StopTimer()
		b.ReportMetric(float64(up.bytes.Load()-bytes)/float64(b.N), "up-B/msg")
		b.ReportMetric((processor()-before).Seconds()*100_000/float64(b.N), "cpu-s/100k")
		b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "msg/s")
	}
}

// metered is a connection whose bytes to the broker are counted.
type metered struct {
	net.Conn
	bytes atomic.Int64
}

func (m *metered) dial(ctx context.Context, network, address string) (c net.Conn, err error) {
	m.Conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
	return m, err
}

func (m *metered) Write(p []byte) (int, error) {
	m.bytes.Add(int64(len(p)))
	return m.Conn.Write(p)
}

// processor is the processor time of this process.
func processor() time.Duration {
	var used syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
