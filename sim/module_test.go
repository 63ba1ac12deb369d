package sim_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

func TestATokenOpensTheHubUntilItExpires(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		first, second := []byte("the primary key"), []byte("the secondary key")
		cloud.CreateDevice("d", sim.Auth{Keys: [][]byte{first, second}})
		for _, key := range [][]byte{first, second} {
			c, err := wire(t, cloud, sim.HubHost, credential{})
			if err != nil {
				t.Fatal(err)
			}
			until := time.Now().Add(10 * time.Minute)
			if code := c.hello(hello{id: "d", user: hubUser("d", newHub), password: tokenUntil(sim.HubHost+"/devices/d", "", key, until)}); code != 0 {
				t.Fatalf("CONNACK %d: %s", code, reason(cloud))
			}
			c.publish(1, 1, events("d", ""), "x")
			c.want(0x40, 0, 1)
			time.Sleep(10*time.Minute - time.Second)
			c.send(frame(0xc0))
			c.want(0xd0)
			c.closed()
			if late := time.Since(until).Abs(); late > time.Second {
				t.Errorf("closed %s beside its time", late)
			}
		}
		if n := cloud.Count("d", sim.Expired); n != 2 {
			t.Errorf("%d sessions expired", n)
		}
		for name, password := range map[string]string{
			"other key":    token(sim.HubHost+"/devices/d", "", []byte("x")),
			"other device": token(sim.HubHost+"/devices/e", "", first),
			"whole hub":    token(sim.HubHost, "", first),
			"key name":     token(sim.HubHost+"/devices/d", "device", first),
			"over":         tokenUntil(sim.HubHost+"/devices/d", "", first, time.Now()),
			"DPS's":        token(sim.IDScope+"/registrations/d", "registration", first),
			"just text":    "secret",
		} {
			if code := knock(t, cloud, credential{}, hello{password: password}); code != 5 {
				t.Errorf("%s: CONNACK %d", name, code)
			}
		}
		if code := knock(t, cloud, bootstrap(t, cloud, "d"), hello{}); code != 5 {
			t.Errorf("a certificate: CONNACK %d", code)
		}
		if n := cloud.Refusals("d", sim.AtConnect); n != 8 {
			t.Errorf("%d refusals", n)
		}
		good := token(sim.HubHost+"/devices/d", "", first)
		cloud.SetPolicy(func(p *sim.Policy) { p.NoDeviceSAS = true })
		if code := knock(t, cloud, credential{}, hello{password: good}); code != 5 {
			t.Errorf("where tokens are switched off: CONNACK %d", code)
		}
		cloud.CreateDevice("c", sim.Auth{CA: cloud.FactoryCA()})
		if code := knock(t, cloud, bootstrap(t, cloud, "c"), hello{id: "c", password: good}); code != 5 {
			t.Errorf("a token beside a certificate: CONNACK %d", code)
		}
	})
}

func TestAModuleHasItsOwnIdentityAndTopics(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		key := []byte("the module's key")
		cert := bootstrap(t, cloud, "d/vision")
		cloud.CreateDevice("d/vision", sim.Auth{CA: cloud.FactoryCA()})
		cloud.CreateDevice("d/filter", sim.Auth{Keys: [][]byte{key}})
		c := atHub(t, cloud, "d/vision", cert)
		c.publish(1, 1, "devices/d/modules/vision/messages/events/seq=1", "x")
		c.want(0x40, 0, 1)
		for filter, granted := range map[string]byte{"devices/d/modules/vision/#": 1, "$iothub/twin/res/#": 1, "$iothub/credentials/res/#": 0x80,
			"devices/d/messages/devicebound/#": 0x80} {
			c.subscribe(2, filter, 1)
			c.want(0x90, 0, 2, granted)
		}
		if got := cloud.Received("d/vision"); len(got) != 1 || got[0].Properties["seq"] != "1" {
			t.Errorf("%+v", got)
		}
		good := token(sim.HubHost+"/devices/d/modules/filter", "", key)
		if code := knock(t, cloud, credential{}, hello{id: "d/filter", password: good}); code != 0 {
			t.Errorf("a key: CONNACK %d %s", code, reason(cloud))
		}
		for name, h := range map[string]hello{
			"the device's resource": {id: "d/filter", password: token(sim.HubHost+"/devices/d", "", key)},
			"another module":        {id: "d/other", password: good},
		} {
			if code := knock(t, cloud, credential{}, h); code != 5 {
				t.Errorf("%s: CONNACK %d", name, code)
			}
		}
		if code := knock(t, cloud, bootstrap(t, cloud, "d"), hello{id: "d/vision"}); code != 5 {
			t.Errorf("the device's certificate: CONNACK %d", code)
		}
		old := c
		c = atHub(t, cloud, "d/vision", cert)
		old.closed()
		cloud.DisableDevice("d")
		c.closed()
		if code := knock(t, cloud, cert, hello{id: "d/vision"}); code != 5 {
			t.Errorf("its device is disabled: CONNACK %d", code)
		}
		cloud.EnableDevice("d")
		c = atHub(t, cloud, "d/vision", cert)
		c.publish(1, 1, events("d", ""), "x") // in the device's name
		c.closed()
	})
}

func TestTheHubTakesAsManyAsItsQuota(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		cert := operational(t, cloud, "d")
		cloud.SetTemper(sim.Temper{SendRate: 10})
		c := atHub(t, cloud, "d", cert)
		begin := time.Now()
		for i := range 30 {
			c.publish(1, uint16(i)+1, events("d", ""), "x")
		}
		for i := range 30 {
			c.want(0x40, 0, byte(i)+1)
		}
		if took := time.Since(begin); took < 1900*time.Millisecond || took > 2100*time.Millisecond {
			t.Errorf("30 messages at 10 a second, 10 of them in a burst, took %s", took)
		}
		cloud.SetTemper(sim.Temper{SendRate: 10, SendBacklog: time.Second})
		for i := range 30 {
			c.publish(1, uint16(i)+1, events("d", ""), "x")
			if i < 10 {
				c.want(0x40, 0, byte(i)+1)
			}
		}
		if rest := c.closed(); len(rest) != 10*4 {
			t.Errorf("%d bytes of acknowledgements before the backlog was full", len(rest))
		}
		cloud.SetTemper(sim.Temper{DailyQuota: 2})
		c = atHub(t, cloud, "d", cert)
		for i := range 3 {
			c.publish(1, uint16(i)+1, events("d", ""), "x")
		}
		c.want(0x40, 0, 1)
		c.want(0x40, 0, 2)
		c.closed()
		cloud.SetTemper(sim.Temper{ConnectRate: 2})
		time.Sleep(time.Second)
		var codes []int
		for range 3 {
			codes = append(codes, knock(t, cloud, cert, hello{}))
		}
		if fmt.Sprint(codes) != "[0 0 3]" {
			t.Errorf("CONNACKs %v", codes)
		}
	})
}

func TestADeviceHoldsFiveSubscriptions(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		c := atHub(t, cloud, "d", operational(t, cloud, "d"))
		for i, filter := range []string{"$iothub/twin/res/#", "$iothub/twin/PATCH/properties/desired/#", "$iothub/methods/POST/#", "devices/d/messages/devicebound/#",
			"$iothub/credentials/res/#", "$iothub/twin/res/200/#"} {
			granted := byte(1)
			if i == 5 {
				granted = 0x80
			}
			c.subscribe(1, filter, 1)
			c.want(0x90, 0, 1, granted)
		}
	})
}

func TestARecordHasALimitAndSaysWhatIsGone(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		cert := operational(t, cloud, "d")
		before := len(cloud.Events())
		cloud.SetPolicy(func(p *sim.Policy) { p.Keep = 4 })
		c := atHub(t, cloud, "d", cert)
		for i := range 10 {
			c.publish(1, uint16(i)+1, events("d", fmt.Sprintf("seq=%d", i)), "x")
			c.want(0x40, 0, byte(i)+1)
			c.subscribe(1, "$iothub/twin/res/#", 1)
			c.want(0x90, 0, 1, 1)
		}
		got := cloud.Received("d")
		if len(got) != 4 || got[0].Properties["seq"] != "6" || len(cloud.Events()) != 4 {
			t.Errorf("%d messages from %v, %d events", len(got), got[0].Properties, len(cloud.Events()))
		}
		messages, events := cloud.Dropped()
		if messages != 6 || events != before+11-4 {
			t.Errorf("dropped %d and %d of %d", messages, events, before+11)
		}
		if n := cloud.Count("d", sim.Subscribed); n != 11 {
			t.Errorf("counted %d: one at the DPS, ten at the hub", n)
		}
	})
}

func TestSelfSignedThumbprintsOfEitherLength(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		own := foreign(t, "d")
		sum := sha256.Sum256(own.chain[0].Raw)
		cloud.CreateDevice("d", sim.Auth{Thumbprints: []string{"00", hex.EncodeToString(sum[:])}})
		if code := knock(t, cloud, own, hello{}); code != 0 {
			t.Errorf("secondary: CONNACK %d", code)
		}
	})
}
