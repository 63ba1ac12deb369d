package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

func TestFullSpoolHoldsTheClientBackUntilThereIsRoom(t *testing.T) {
	shelf := &shelf{}
	w := listen(t, &MQTT{Server: &Server{Spool: shelf}})
	shelf.refuse(fault.Later(fmt.Errorf("put: %w", spool.ErrFull), time.Minute))
	c := w.connected(t, "a")
	c.send(message1(1, "boiler", "1"), message1(2, "boiler", "2"), []byte{pingreq << 4, 0})
	c.expect(pingresp<<4, 0)
	shelf.refuse(nil)
	c.expect(puback<<4, 2, 0, 1, puback<<4, 2, 0, 2)
	if got := fmt.Sprint(shelf.all()); got != "[boiler 1 boiler 2]" {
		t.Errorf("the spool has %s", got)
	}
}

func TestStreamThatDropsItsNewestIsAcknowledgedAndCounted(t *testing.T) {
	shelf := &shelf{err: fault.As(fault.Permanent, fmt.Errorf("put: %w", spool.ErrFull))}
	w := listen(t, &MQTT{Server: &Server{Spool: shelf}})
	c := w.connected(t, "a")
	c.send(message1(1, "boiler", "1"))
	c.expect(puback<<4, 2, 0, 1)
	if got := w.Server.Readings(); got != (Readings{Refused: 1}) {
		t.Errorf("counted %+v", got)
	}
	if !strings.Contains(w.log.String(), "readings are refused") {
		t.Errorf("logged %s", w.log)
	}
}

func TestGroupThatIsTooMuchAtOnceIsStoredInParts(t *testing.T) {
	live, err := spool.Open(t.TempDir(), spool.Limits{MaxBytes: 64 << 10}, nil)
	if err != nil {
		t.Fatal(err)
	}
	w := listen(t, &MQTT{Server: &Server{Spool: live}})
	c := w.connected(t, "a")
	go func() {
		for id := range byte(40) {
			_, _ = c.Write(message1(uint16(id)+1, "boiler", strings.Repeat("1", 4<<10)))
		}
	}()
	for id := range byte(40) {
		c.expect(puback<<4, 2, 0, id+1)
	}
	if got := w.Server.Readings(); got != (Readings{Taken: 40}) {
		t.Errorf("counted %+v", got)
	}
}

func TestQoS0PromisesNothingAndIsCounted(t *testing.T) {
	shelf := &shelf{}
	w := listen(t, &MQTT{Server: &Server{Spool: shelf}})
	c := w.connected(t, "a")
	c.send(message0("boiler", "1"), message1(1, "boiler", "2"))
	c.expect(puback<<4, 2, 0, 1)
	shelf.refuse(errors.New("no"))
	c.send(message0("boiler", "3"), []byte{disconnect << 4, 0})
	c.cutOff()
	w.settled(t)
	if got := w.Server.Readings(); got != (Readings{Taken: 2, Lost: 1}) {
		t.Errorf("counted %+v", got)
	}
}

func TestTopicsThatAreNoReadingsAreLetGoAndCounted(t *testing.T) {
	shelf := &shelf{}
	w := listen(t, &MQTT{Server: &Server{Spool: shelf}, Topics: []Topic{{Filter: "te/+/+/+/+/status/#"}}})
	c := w.connected(t, "a")
	c.send(message1(1, "$SYS/broker/connection/x/state", "1"), message1(2, "te/device/main///status/health", "{}"), message2(3, "$SYS/x", "1"))
	c.expect(puback<<4, 2, 0, 1, puback<<4, 2, 0, 2, pubrec<<4, 2, 0, 3)
	if got := w.Server.Readings(); got != (Readings{Ignored: 3}) || len(shelf.all()) > 0 {
		t.Errorf("counted %+v, stored %v", got, shelf.all())
	}
}

func TestOneFullStreamTakesNoOtherWithIt(t *testing.T) {
	shelf := &lanes{full: "b", kept: map[string]int{}}
	c := listen(t, &MQTT{Server: &Server{Spool: shelf}}).connected(t, "a")
	c.send(append(append(message1(1, "a", "1"), message1(2, "b", "1")...), message1(3, "c", "1")...))
	c.expect(puback<<4, 2, 0, 1)
	shelf.open()
	c.expect(puback<<4, 2, 0, 2, puback<<4, 2, 0, 3)
	if got := fmt.Sprint(shelf.kept); got != "map[a:1 b:1 c:1]" {
		t.Errorf("stored %s", got)
	}
}

func TestStopStoresAndAcknowledgesWhatHasArrived(t *testing.T) {
	shelf := &shelf{enter: make(chan struct{}), door: make(chan struct{})}
	w := listen(t, &MQTT{Server: &Server{Spool: shelf}})
	idle, c := w.connected(t, "idle"), w.connected(t, "busy")
	c.send(message1(1, "boiler", "1"))
	<-shelf.enter
	w.stop()
	idle.cutOff()
	close(shelf.door)
	c.expect(puback<<4, 2, 0, 1)
	c.cutOff()
	<-w.ended
}

func TestStopOfMQTTDoesNotWaitForAHangingMedium(t *testing.T) {
	shelf := &shelf{enter: make(chan struct{}), door: make(chan struct{})}
	w := listen(t, &MQTT{Server: &Server{Spool: shelf}})
	c := w.connected(t, "a")
	c.send(message1(1, "boiler", "1"))
	<-shelf.enter
	begin := time.Now()
	w.stop()
	<-w.ended
	if took := time.Since(begin); took < grace || took > grace+time.Second {
		t.Errorf("the stop took %v", took)
	}
	if said := c.cutOff(); len(said) > 0 {
		t.Errorf("the server says % x of what is on no medium", said)
	}
}

func TestSixtyFourClientsAtOnce(t *testing.T) {
	shelf := &shelf{}
	w := listen(t, &MQTT{Server: &Server{Spool: shelf}})
	var all sync.WaitGroup
	for i := range 64 {
		c := w.connected(t, fmt.Sprint(i))
		all.Go(func() {
			for id := byte(1); id <= 50; id++ {
				c.send(message1(uint16(id), "boiler", fmt.Sprintf(`"%d-%d"`, i, id)))
			}
			for id := byte(1); id <= 50; id++ {
				c.expect(puback<<4, 2, 0, id)
			}
		})
	}
	all.Wait()
	seen := map[string]bool{}
	for _, r := range shelf.all() {
		seen[r] = true
	}
	if len(seen) != 64*50 || w.Server.Readings().Taken != 64*50 {
		t.Errorf("%d different readings of %d, counted %+v", len(seen), 64*50, w.Server.Readings())
	}
}

func TestClientBeyondTheLimitWaitsAndTheLogSaysSo(t *testing.T) {
	w := listen(t, &MQTT{Server: &Server{Spool: &shelf{}}, Conns: 2})
	first, _ := w.connected(t, "a"), w.connected(t, "b")
	third := w.dial(t)
	third.send(hello("c", flagClean, 0))
	first.send([]byte{disconnect << 4, 0})
	third.expect(connack<<4, 2, 0, 0)
	if !strings.Contains(w.log.String(), "no further client is served until one goes") {
		t.Errorf("logged %s", w.log)
	}
}

func TestMQTTMayBeRunAgain(t *testing.T) {
	m := &MQTT{Server: &Server{Spool: &shelf{}}, Listen: shortDir(t) + "/run/mqtt.sock", Log: slog.New(slog.DiscardHandler)}
	m.Server.Log = m.Log
	for range 2 {
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- m.Run(ctx) }()
		var conn net.Conn
		until10s(t, func() (up bool) {
			var err error
			conn, err = net.Dial("unix", m.Listen)
			return err == nil
		})
		c := &client{conn, t}
		c.send(hello("a", flagClean, 0), message1(1, "boiler", "1"))
		c.expect(connack<<4, 2, 0, 0, puback<<4, 2, 0, 1)
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v", err)
		}
		c.cutOff()
		_ = conn.Close()
	}
}
