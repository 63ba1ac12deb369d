package sim_test

import (
	"bytes"
	"crypto/elliptic"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

func TestTelemetryIsRecordedDecodedAndAcknowledged(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		c := atHub(t, cloud, "d", operational(t, cloud, "d"))
		c.publish(1, 513, events("d", "%24.mid=id%201&$.ct=application%2Fjson&a%20b=c%26d%3De%2Bf&key&empty="), `{"v":1}`)
		c.want(0x40, 2, 1)
		c.publish(0, 0, "devices/d/messages/events", "bare")
		c.send(frame(0x3b, str(events("d", "")), []byte{0, 9}, []byte("again")))
		c.want(0x40, 0, 9)
		got := cloud.Received("d")
		if len(got) != 3 {
			t.Fatalf("received %d", len(got))
		}
		want := map[string]string{"$.mid": "id 1", "$.ct": "application/json", "a b": "c&d=e+f", "key": "", "empty": ""}
		if !maps.Equal(got[0].Properties, want) || string(got[0].Body) != `{"v":1}` || got[0].DUP || got[0].Device != "d" {
			t.Errorf("first: %+v", got[0])
		}
		if !got[2].DUP || got[2].Properties["mqtt-retain"] != "true" || got[2].Session != got[0].Session {
			t.Errorf("third: %+v", got[2])
		}
	})
}

func TestHubHangsUpOn(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		cert := operational(t, cloud, "d")
		big := bytes.Repeat([]byte("x"), 256<<10)
		for name, packet := range map[string][]byte{
			"QoS 2":                   frame(0x34, str(events("d", "")), []byte{0, 1}),
			"QoS 3":                   frame(0x36, str(events("d", "")), []byte{0, 1}),
			"another device's topic":  frame(0x30, str(events("e", ""))),
			"unknown topic":           frame(0x30, str("home/kitchen")),
			"credential, singular":    frame(0x30, str("$iothub/credential/POST/issueCertificate/?$rid=1")),
			"broken property":         frame(0x30, str(events("d", "a=%zz"))),
			"more than 256 KB":        frame(0x30, str(events("d", "a=b")), big),
			"a packet far too large":  {0x30, 0xff, 0xff, 0xff, 0x7f},
			"five bytes of length":    {0x30, 0xff, 0xff, 0xff, 0xff, 0x01},
			"wildcard in a topic":     frame(0x30, str(events("d", "+"))),
			"packet identifier 0":     frame(0x32, str(events("d", "")), []byte{0, 0}),
			"DUP with QoS 0":          frame(0x38, str(events("d", ""))),
			"second CONNECT":          hello{id: "d", user: hubUser("d", newHub)}.bytes(),
			"SUBSCRIBE without flags": frame(0x80, []byte{0, 1}, str("$iothub/twin/res/#"), []byte{0}),
			"SUBSCRIBE to nothing":    frame(0x82, []byte{0, 1}),
			"filter a/#/b":            frame(0x82, []byte{0, 1}, str("a/#/b"), []byte{0}),
			"server's packet":         frame(0xd0),
			"PUBREL":                  frame(0x62, []byte{0, 1}),
			"packet type 15":          frame(0xf0),
			"PINGREQ with a body":     frame(0xc0, []byte{0}),
			"text that is not UTF-8":  frame(0x30, str("devices/d/messages/events/a=\xff")),
			"topic longer than all":   frame(0x30, []byte{0xff, 0xff, 'a'}),
			"bytes after the end":     frame(0x40, []byte{0, 1, 2}),
		} {
			c := atHub(t, cloud, "d", cert)
			c.send(packet)
			if said := c.closed(); len(said) != 0 {
				t.Errorf("%s: said %x", name, said)
			}
			if n := len(cloud.Received("d")); n != 0 {
				t.Fatalf("%s: received %d", name, n)
			}
		}
	})
}

func TestExactly256KBAreAccepted(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		c := atHub(t, cloud, "d", operational(t, cloud, "d"))
		c.publish(1, 1, events("d", "a=b"), strings.Repeat("x", 256<<10-3))
		c.want(0x40, 0, 1)
	})
}

func TestFiveSubscriptionsAndOnlyDocumentedOnes(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		c := atHub(t, cloud, "d", operational(t, cloud, "d"))
		for i, filter := range []string{"$iothub/twin/res/#", "$iothub/twin/PATCH/properties/desired/#", "$iothub/methods/POST/#",
			"devices/d/messages/devicebound/#", "$iothub/credentials/res/#"} {
			c.subscribe(byte(i+1), filter, 2)
			c.want(0x90, 0, byte(i+1), 1)
		}
		c.subscribe(6, "$iothub/methods/POST/reboot/#", 0)
		c.want(0x90, 0, 6, 0x80)
		c.subscribe(7, "$iothub/twin/res/#", 0)
		c.want(0x90, 0, 7, 0)
		c.send(frame(0xa2, []byte{0, 8}, str("$iothub/twin/res/#")))
		c.want(0xb0, 0, 8)
		c.subscribe(9, "#", 0)
		c.want(0x90, 0, 9, 0x80)
		c.subscribe(10, "$iothub/methods/POST/reboot/#", 0)
		c.want(0x90, 0, 10, 0)
	})
}

func TestASilentDeviceIsDroppedAfterOneAndAHalfKeepAlives(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		cert := operational(t, cloud, "d")
		for asked, want := range map[uint16]time.Duration{60: 90 * time.Second, 0: 1767 * time.Second, 65535: 1767 * time.Second} {
			c := atHub(t, cloud, "d", cert, func(h *hello) { h.keepAlive = asked })
			begin := time.Now()
			if _, _, err := c.read(); err == nil || time.Since(begin) != want {
				t.Errorf("keep-alive %d: %v after %v, want %v", asked, err, time.Since(begin), want)
			}
		}
	})
}

func TestAWillIsTelemetryWhenTheNetworkDropsAndOnlyThen(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		cert := operational(t, cloud, "d")
		will := func(h *hello) {
			h.flags, h.afterwards = 0x8e, append(str(events("d", "a=b")), str("gone")...)
		}
		c := atHub(t, cloud, "d", cert, will)
		c.send(frame(0xe0))
		c.closed()
		if n := len(cloud.Received("d")); n != 0 {
			t.Fatalf("received %d after DISCONNECT", n)
		}
		atHub(t, cloud, "d", cert, will).conn.Close()
		if err := cloud.Wait(t.Context(), func() bool { return len(cloud.Received("d")) == 1 }); err != nil {
			t.Fatal(err)
		}
		if m := cloud.Received("d")[0]; string(m.Body) != "gone" || m.Properties["iothub-MessageType"] != "Will" {
			t.Errorf("%+v", m)
		}
		if code := knock(t, cloud, cert, hello{flags: 0x86, afterwards: append(str("lwt/d"), str("x")...)}); code != 5 {
			t.Errorf("will elsewhere: CONNACK %d", code)
		}
	})
}

func TestTheTwinTakesReportsAndTellsThem(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		c := atHub(t, cloud, "d", operational(t, cloud, "d"))
		c.subscribe(1, "$iothub/twin/res/#", 0)
		c.want(0x90, 0, 1, 0)
		c.publish(0, 0, "$iothub/twin/PATCH/properties/reported/?$rid=a", `{"x":{"y":1,"z":2},"w":3}`)
		if topic, _, _ := c.message(); topic != "$iothub/twin/res/204/?$rid=a&$version=2" {
			t.Error(topic)
		}
		c.publish(0, 0, "$iothub/twin/PATCH/properties/reported/?$rid=b", `{"x":{"y":null},"w":null}`)
		c.message()
		c.publish(0, 0, "$iothub/twin/PATCH/properties/reported/?$rid=c", `{`)
		if topic, _, _ := c.message(); topic != "$iothub/twin/res/400/?$rid=c" {
			t.Error(topic)
		}
		c.publish(0, 0, "$iothub/twin/GET/?$rid=d", " ")
		if topic, body, _ := c.message(); topic != "$iothub/twin/res/200/?$rid=d" || body != `{"desired":{"$version":1},"reported":{"$version":3,"x":{"z":2}}}` {
			t.Error(topic, body)
		}
	})
}

func TestCredentialTopicsNeedTheirAPIVersion(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		cert := operational(t, cloud, "d")
		old := func(h *hello) { h.user = hubUser("d", "2021-04-12") }
		c := atHub(t, cloud, "d", cert, old)
		c.subscribe(1, "$iothub/credentials/res/#", 1)
		c.closed()
		c = atHub(t, cloud, "d", cert, old)
		c.publish(0, 0, "$iothub/credentials/POST/issueCertificate/?$rid=1", issueBody(t, "d", newKey(t, elliptic.P256())))
		c.closed()
	})
}
