package sim_test

import (
	"encoding/binary"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

// letter reads the next message to the device, and returns its topic and packet identifier.
func (c *client) letter() (topic string, id uint16) {
	c.t.Helper()
	first, b, err := c.read()
	if err != nil || first != 0x32 {
		c.t.Fatalf("%#x %v", first, err)
	}
	n := int(binary.BigEndian.Uint16(b))
	return string(b[2 : 2+n]), binary.BigEndian.Uint16(b[2+n:])
}

func (c *client) puback(id uint16) { c.send(frame(0x40, binary.BigEndian.AppendUint16(nil, id))) }

// MQTT 3.1.1, 4.6: PUBACKs come in the order of their PUBLISHes.
func TestTheHubHangsUpOnAcknowledgementsOutOfTurn(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, c *sim.Cloud) {
		for _, outOfTurn := range []bool{false, true} {
			d := hearing(t, c, 1, "devices/d/messages/devicebound/#")
			for range 2 {
				if _, err := c.SendC2D("d", sim.ToDevice{Body: []byte("x")}); err != nil {
					t.Fatal(err)
				}
			}
			_, first := d.letter()
			_, second := d.letter()
			if outOfTurn {
				d.puback(second)
				d.closed()
				continue
			}
			d.puback(first)
			d.puback(second)
			d.puback(second) // once more, for nothing that waits
			synctest.Wait()
			if n := c.PendingC2D("d"); n != 0 || !c.Online("d") {
				t.Errorf("%d pending, online: %v", n, c.Online("d"))
			}
		}
		if n := c.PendingC2D("d"); n != 2 {
			t.Errorf("%d pending", n)
		}
	})
}

func TestAMessageComesAgainWhenItsLockHasEnded(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, c *sim.Cloud) {
		c.SetPolicy(func(p *sim.Policy) { p.LetterLock = time.Minute })
		d := hearing(t, c, 1, "devices/d/messages/devicebound/#")
		if _, err := c.SendC2D("d", sim.ToDevice{ID: "m", Body: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		topic, late := d.letter()
		begin := time.Now()
		again, inTime := d.letter()
		if waited := time.Since(begin); topic != again || late == inTime || waited != time.Minute {
			t.Errorf("%s %d, then %s %d after %v", topic, late, again, inTime, waited)
		}
		d.puback(late)
		synctest.Wait()
		if n := c.PendingC2D("d"); n != 1 {
			t.Errorf("an acknowledgement behind its time completes: %d pending", n)
		}
		d.puback(inTime)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if n := c.PendingC2D("d"); n != 0 || !c.Online("d") {
			t.Errorf("%d pending, online: %v", n, c.Online("d"))
		}
	})
}

func TestAModuleHasATwinMethodsAndInputsAndNoMessagesOfTheDevice(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, c *sim.Cloud) {
		const id = "d/vision"
		cert := bootstrap(t, c, id)
		c.CreateDevice(id, sim.Auth{CA: c.FactoryCA()})
		d := atHub(t, c, id, cert, persistent)
		for i, one := range []struct {
			filter  string
			granted byte
		}{
			{"devices/d/modules/vision/inputs/#", 1}, {"$iothub/twin/res/#", 0}, {"$iothub/methods/POST/#", 0},
			{"devices/d/modules/vision/messages/devicebound/#", 0x80}, {"devices/d/messages/devicebound/#", 0x80},
			{"devices/d/modules/other/inputs/#", 0x80}, {"devices/d/modules/vision/messages/events/#", 0x80}, {"$iothub/credentials/res/#", 0x80},
		} {
			d.subscribe(byte(i+1), one.filter, min(one.granted, 1))
			d.want(0x90, 0, byte(i+1), one.granted)
		}
		if _, err := c.SendC2D(id, sim.ToDevice{ID: "m", Input: "frames", Properties: map[string]string{"a": "b"}, Body: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		topic, packet := d.letter()
		if topic != "devices/d/modules/vision/inputs/frames/%24.mid=m&a=b" {
			t.Error(topic)
		}
		d.puback(packet)
		synctest.Wait()
		if n := c.PendingC2D(id); n != 0 {
			t.Errorf("%d pending", n)
		}
		for _, input := range []string{"", "a/b", "#"} {
			_, err := c.SendC2D(id, sim.ToDevice{Input: input})
			wantCode(t, err, 400004)
		}
		_, err := c.SendC2D("d", sim.ToDevice{Input: "frames"})
		wantCode(t, err, 400004)

		d.publish(0, 0, "$iothub/twin/GET/?$rid=1", "")
		if topic, body, err := d.message(); err != nil || topic != "$iothub/twin/res/200/?$rid=1" || !strings.Contains(body, `"desired"`) {
			t.Errorf("%s %s %v", topic, body, err)
		}
		d.publish(1, 7, "$iothub/credentials/POST/issueCertificate/?$rid=1", "{}")
		d.closed()
	})
}
