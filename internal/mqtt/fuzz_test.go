package mqtt

import (
	"testing"
	"testing/synctest"
	"time"
)

// FuzzServer lets a server say anything after it has accepted: nothing panics, and the session can be closed.
func FuzzServer(f *testing.F) {
	f.Add([]byte{puback << 4, 2, 0, 1})
	f.Add([]byte{suback << 4, 3, 0, 2, 1})
	f.Add([]byte{publish << 4, 4, 0, 1, 'a', '1', publish<<4 | 2, 6, 0, 1, 'b', 0, 7, '2'})
	f.Add([]byte{publish << 4, 0xff, 0xff, 0xff, 0x7f})
	f.Add([]byte{pingresp << 4, 0, unsuback << 4, 2, 0, 1})
	f.Fuzz(func(t *testing.T, said []byte) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, func(p *peer) {
				p.accept()
				_, _, _ = p.read()
				p.send(said...)
				for {
					if _, _, err := p.read(); err != nil {
						return
					}
				}
			})
			c := w.dial(t)
			c.Publish("t", []byte("1"))
			time.AfterFunc(time.Minute, func() { c.wire.Close() })
			_ = c.Subscribe(t.Context(), "f")
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	})
}
