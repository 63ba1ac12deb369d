package sim_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

// wantCode fails where err is not a refusal with the hub's code.
func wantCode(t *testing.T, err error, code int) {
	t.Helper()
	if no, ok := errors.AsType[*sim.Refusal](err); !ok || no.Code != code {
		t.Errorf("%v, want %d", err, code)
	}
}

type invoked struct {
	answer sim.Answer
	err    error
}

func invoke(t *testing.T, c *sim.Cloud, method, payload string, wait time.Duration) chan invoked {
	out := make(chan invoked, 1)
	go func() {
		a, err := c.Invoke(t.Context(), "d", method, []byte(payload), wait)
		out <- invoked{a, err}
	}()
	return out
}

func TestADirectMethodIsAnsweredByTheDevice(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, c *sim.Cloud) {
		d := hearing(t, c, 0, "$iothub/methods/POST/#")
		done := invoke(t, c, "reboot", `{"in":5}`, 0)
		topic, body, err := d.message()
		rid, ok := strings.CutPrefix(topic, "$iothub/methods/POST/reboot/?$rid=")
		if err != nil || !ok || body != `{"in":5}` {
			t.Fatal(topic, body, err)
		}
		d.publish(0, 0, "$iothub/methods/res/200/?$rid=nobody", `{}`)
		d.publish(0, 0, "$iothub/methods/res/202/?$rid="+rid, `{"ok":true}`)
		if got := <-done; got.err != nil || got.answer.Status != 202 || string(got.answer.Payload) != `{"ok":true}` {
			t.Errorf("%+v", got)
		}
		d.publish(0, 0, "$iothub/methods/res/200/?$rid="+rid, `{}`) // late: passed over
		d.publish(1, 7, events("d", ""), "on")
		d.want(0x40, 0, 7)
	})
}

func TestADirectMethodNeedsADeviceThatListens(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, c *sim.Cloud) {
		_, err := c.Invoke(t.Context(), "d", "m", nil, 0)
		wantCode(t, err, 404001)
		cert := operational(t, c, "d")
		_, err = c.Invoke(t.Context(), "d", "m", nil, 0)
		wantCode(t, err, 404103)
		d := atHub(t, c, "d", cert)
		_, err = c.Invoke(t.Context(), "d", "m", nil, 0)
		wantCode(t, err, 404103)
		d.subscribe(1, "$iothub/methods/POST/#", 0)
		d.want(0x90, 0, 1, 0)
		_, err = c.Invoke(t.Context(), "d", "m", []byte("{"), 0)
		wantCode(t, err, 400004)
		start := time.Now()
		_, err = c.Invoke(t.Context(), "d", "m", nil, 10*time.Second)
		wantCode(t, err, 504101)
		if waited := time.Since(start); waited != 10*time.Second {
			t.Errorf("waited %v", waited)
		}
		done := invoke(t, c, "m", "", time.Minute)
		synctest.Wait()
		c.Disconnect("d")
		wantCode(t, (<-done).err, 404103)
	})
}

func TestTheHubHangsUpOnAnAnswerWithoutAStatus(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, c *sim.Cloud) {
		d := hearing(t, c, 0, "$iothub/methods/POST/#")
		d.publish(0, 0, "$iothub/methods/res/ok/?$rid=1", `{}`)
		d.closed()
	})
}

func TestAMessageToTheDeviceStaysUntilItIsAcknowledged(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, c *sim.Cloud) {
		cert := operational(t, c, "d")
		_, err := c.SendC2D("d", sim.ToDevice{Body: []byte("early")})
		wantCode(t, err, 404103)
		d := atHub(t, c, "d", cert, persistent)
		d.conn.Close()
		synctest.Wait()
		id, err := c.SendC2D("d", sim.ToDevice{ID: "m 1", Properties: map[string]string{"a b": "c&d"}, Body: []byte("hello")})
		if err != nil || id != "m 1" {
			t.Fatal(id, err)
		}
		d = atHub(t, c, "d", cert, persistent)
		d.subscribe(1, "devices/d/messages/devicebound/#", 1)
		d.want(0x90, 0, 1, 1)
		first, body, err := d.read() // not acknowledged
		if err != nil || first != 0x32 || !strings.HasSuffix(string(body), "hello") ||
			!strings.Contains(string(body), "devices/d/messages/devicebound/%24.mid=m%201&%24.to=%2Fdevices%2Fd%2Fmessages%2FdeviceBound&a%20b=c%26d") {
			t.Fatalf("%#x %s %v", first, body, err)
		}
		d.conn.Close()
		synctest.Wait()
		if n := c.PendingC2D("d"); n != 1 {
			t.Errorf("%d pending", n)
		}
		d = atHub(t, c, "d", cert, persistent)
		if topic, body, err := d.message(); err != nil || body != "hello" {
			t.Errorf("%s %s %v", topic, body, err)
		}
		synctest.Wait()
		if n := c.PendingC2D("d"); n != 0 || c.Count("d", sim.Completed) != 1 {
			t.Errorf("%d pending, %d completed", n, c.Count("d", sim.Completed))
		}
	})
}

func TestACleanSessionDropsWhatWaited(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, c *sim.Cloud) {
		cert := operational(t, c, "d")
		atHub(t, c, "d", cert, persistent)
		if _, err := c.SendC2D("d", sim.ToDevice{Body: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		d := atHub(t, c, "d", cert)
		d.subscribe(1, "devices/d/messages/devicebound/#", 1)
		d.want(0x90, 0, 1, 1)
		d.silent()
	})
}

func TestTheQueueOfADeviceIsBounded(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, c *sim.Cloud) {
		hearing(t, c, 0)
		for i := range 50 {
			if _, err := c.SendC2D("d", sim.ToDevice{Body: fmt.Append(nil, i)}); err != nil {
				t.Fatal(err)
			}
		}
		_, err := c.SendC2D("d", sim.ToDevice{})
		wantCode(t, err, 403004)
		time.Sleep(2 * time.Hour)
		if n := c.PendingC2D("d"); n != 0 {
			t.Errorf("%d pending after their time", n)
		}
		_, err = c.SendC2D("d", sim.ToDevice{Body: make([]byte, 64<<10)})
		wantCode(t, err, 413001)
		d := atHub(t, c, "d", operational(t, c, "d"))
		d.subscribe(1, "devices/d/messages/devicebound/#", 0)
		d.want(0x90, 0, 1, 0)
		if _, err := c.SendC2D("d", sim.ToDevice{Body: []byte("now")}); err != nil {
			t.Fatal(err)
		}
		if _, body, err := d.message(); err != nil || body != "now" || c.PendingC2D("d") != 0 {
			t.Errorf("%s %v, %d pending", body, err, c.PendingC2D("d"))
		}
	})
}
