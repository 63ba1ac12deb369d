package sim_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/devid-agent/devid-agent/sim"
)

const (
	twinGet   = "$iothub/twin/GET/?$rid="
	twinPatch = "$iothub/twin/PATCH/properties/reported/?$rid="
)

// hearing is a device at the hub with these subscriptions.
func hearing(t *testing.T, c *sim.Cloud, qos byte, filters ...string) *client {
	t.Helper()
	d := atHub(t, c, "d", operational(t, c, "d"))
	for i, f := range filters {
		d.subscribe(byte(i+1), f, qos)
		d.want(0x90, 0, byte(i+1), qos)
	}
	return d
}

func TestDesiredPropertiesReachADeviceThatListens(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, c *sim.Cloud) {
		operational(t, c, "d")
		if v, err := c.SetDesired("d", []byte(`{"interval":{"cpu":30,"disk":60}}`)); err != nil || v != 2 {
			t.Fatalf("%d %v", v, err)
		}
		d := hearing(t, c, 0, "$iothub/twin/PATCH/properties/desired/#", "$iothub/twin/res/#")
		d.publish(0, 0, twinGet+"1", "")
		if topic, body, _ := d.message(); topic != "$iothub/twin/res/200/?$rid=1" || body != `{"desired":{"$version":2,"interval":{"cpu":30,"disk":60}},"reported":{"$version":1}}` {
			t.Error(topic, body)
		}
		if _, err := c.SetDesired("d", []byte(`{"interval":{"disk":null},"on":true}`)); err != nil {
			t.Fatal(err)
		}
		if topic, body, _ := d.message(); topic != "$iothub/twin/PATCH/properties/desired/?$version=3" || body != `{"$version":3,"interval":{"disk":null},"on":true}` {
			t.Error(topic, body)
		}
		if got := string(c.Twin("d")); got != `{"desired":{"$version":3,"interval":{"cpu":30},"on":true},"reported":{"$version":1}}` {
			t.Error(got)
		}
		if _, err := c.SetDesired("nobody", []byte(`{}`)); err == nil {
			t.Error("an unknown device has a twin")
		}
	})
}

func TestTheTwinHasItsLimits(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, c *sim.Cloud) {
		d := hearing(t, c, 0, "$iothub/twin/res/#")
		deep := strings.Repeat(`{"a":`, 11) + "1" + strings.Repeat("}", 11)
		for body, want := range map[string]int{
			`{"a":4503599627370495}`:  204,
			`{"a":4503599627370496}`:  400,
			`{"a":-4503599627370497}`: 400,
			`{"a":1e300}`:             204,
			`{"a.b":1}`:               400,
			`{"a b":1}`:               400,
			`{"$a":1}`:                400,
			`{"":1}`:                  400,
			`[1]`:                     400,
			`{} {}`:                   400,
			`null`:                    400,
			fmt.Sprintf(`{"a":%q}`, strings.Repeat("x", 4<<10)):   204,
			fmt.Sprintf(`{"a":%q}`, strings.Repeat("x", 4<<10+1)): 400,
			fmt.Sprintf(`{%q:1}`, strings.Repeat("k", 1<<10+1)):   400,
			deep: 400,
			fmt.Sprintf(`{"b":[%s"x"]}`, strings.Repeat(`"xxxxxxxxxx",`, 3000)): 400,
		} {
			d.publish(0, 0, twinPatch+"9", body)
			if topic, _, _ := d.message(); !strings.HasPrefix(topic, fmt.Sprintf("$iothub/twin/res/%d/", want)) {
				t.Errorf("%.80s: %s, want %d", body, topic, want)
			}
		}
		d.publish(0, 0, twinPatch+"9&$version=1", `{"a":1}`)
		if topic, _, _ := d.message(); topic != "$iothub/twin/res/412/?$rid=9" {
			t.Error(topic)
		}
	})
}

func TestATwinCanBeThrottled(t *testing.T) {
	temper := sim.Temper{Fault: func(p sim.Point, _ string, n int) error {
		if p == sim.AtTwin && n == 1 {
			return &sim.Refusal{Code: 429001}
		}
		return nil
	}}
	inBubble(t, temper, func(t *testing.T, c *sim.Cloud) {
		d := hearing(t, c, 0, "$iothub/twin/res/#")
		for _, want := range []string{"429", "200"} {
			d.publish(0, 0, twinGet+"1", "")
			if topic, _, _ := d.message(); topic != "$iothub/twin/res/"+want+"/?$rid=1" {
				t.Error(topic)
			}
		}
	})
}

func FuzzATwinTakesNoPatchThatItCannotGiveBack(f *testing.F) {
	c, err := sim.New(sim.Temper{}, func(p *sim.Policy) { p.ECDSAServer = true })
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { c.Close() })
	for _, s := range []string{`{"a":{"b":null}}`, `{"a":[1,{"b":2}]}`, `{"a":4503599627370496}`, `{"$a":1}`, `{`, `null`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, patch []byte) {
		c.CreateDevice("d", sim.Auth{})
		defer c.DeleteDevice("d")
		_, err := c.SetDesired("d", patch)
		document := c.Twin("d")
		if !json.Valid(document) {
			t.Errorf("%s", document)
		}
		if err != nil && string(document) != `{"desired":{"$version":1},"reported":{"$version":1}}` {
			t.Errorf("refused (%v), and yet %s", err, document)
		}
		if len(document) > 33<<10 {
			t.Errorf("%d bytes", len(document))
		}
	})
}
