package ingest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

func TestPubackComesOnlyAfterTheMediumHasIt(t *testing.T) {
	shelf := &shelf{enter: make(chan struct{}), door: make(chan struct{})}
	c := listen(t, &MQTT{Server: &Server{Spool: shelf}}).connected(t, "a")
	c.send(message1(7, "boiler", "21.5"), []byte{pingreq << 4, 0})
	<-shelf.enter
	c.expect(pingresp<<4, 0) // it answers, and not with a PUBACK
	close(shelf.door)
	c.expect(puback<<4, 2, 0, 7)
	if got := fmt.Sprint(shelf.all()); got != "[boiler 21.5]" {
		t.Errorf("the spool has %s", got)
	}
}

func TestManyInFlightShareOneCommitAndAreAcknowledgedInOrder(t *testing.T) {
	shelf := &shelf{enter: make(chan struct{}), door: make(chan struct{})}
	w := listen(t, &MQTT{Server: &Server{Spool: shelf}})
	c := w.connected(t, "a")
	c.send(message1(1, "boiler", "0"))
	<-shelf.enter // the first commit is under way
	var want []byte
	for id := uint16(2); id <= 101; id++ {
		c.send(message1(id, "boiler", "1"))
		want = appendAnswer(want, puback, id)
	}
	c.send([]byte{pingreq << 4, 0})
	c.expect(pingresp<<4, 0) // all were read
	shelf.door <- struct{}{}
	c.expect(puback<<4, 2, 0, 1)
	<-shelf.enter
	shelf.door <- struct{}{}
	c.expect(want...)
	if shelf.commits() != 2 || len(shelf.all()) != 101 {
		t.Errorf("%d readings in %d commits", len(shelf.all()), shelf.commits())
	}
}

func TestQoS2IsTakenOnceWhateverIsRepeated(t *testing.T) {
	shelf := &shelf{}
	c := listen(t, &MQTT{Server: &Server{Spool: shelf}}).connected(t, "a")
	again := message2(5, "boiler", "1")
	again[0] |= 8 // DUP
	c.send(message2(5, "boiler", "1"))
	c.expect(pubrec<<4, 2, 0, 5)
	c.send(again)
	c.expect(pubrec<<4, 2, 0, 5)
	c.send(frame(pubrel<<4|2, u16(5)))
	c.expect(pubcomp<<4, 2, 0, 5)
	c.send(frame(pubrel<<4|2, u16(5))) // the PUBCOMP was lost
	c.expect(pubcomp<<4, 2, 0, 5)
	c.send(message2(5, "boiler", "2")) // the identifier is free again
	c.expect(pubrec<<4, 2, 0, 5)
	if got := fmt.Sprint(shelf.all()); got != "[boiler 1 boiler 2]" {
		t.Errorf("the spool has %s", got)
	}
}

func TestTypeOfAPayloadIsWhatItIs(t *testing.T) {
	shelf := &shelf{}
	c := listen(t, &MQTT{Server: &Server{Spool: shelf}, Topics: []Topic{
		{Filter: "c", Stream: "c", Type: typeCBOR}, {Filter: "j", Stream: "j", Type: typeJSON}, {Filter: "t", Stream: "t", Type: typeText}}}).connected(t, "a")
	for i, m := range []struct{ topic, payload, want string }{
		{"x", `{"a":1}`, ""}, {"x", "21.5", ""}, {"x", "on", typeRaw}, {"x", "", typeRaw},
		{"c", "\xa1\x61a\x01", typeCBOR}, {"c", "\xa1\x61a", typeRaw}, {"j", "1", ""}, {"j", "{", typeRaw}, {"t", "on", typeText},
	} {
		c.send(message1(uint16(i+1), m.topic, m.payload))
		c.expect(puback<<4, 2, 0, byte(i+1))
		if got := shelf.kind(i); got != m.want {
			t.Errorf("%q on %s is %q, want %q", m.payload, m.topic, got, m.want)
		}
	}
}

func TestSubscriptionsAreRefusedAndTheRestGoesOn(t *testing.T) {
	c := listen(t, &MQTT{Server: &Server{Spool: &shelf{}}}).connected(t, "a")
	c.send(frame(subscribe<<4|2, u16(3), str("#"), []byte{1}, str("a/+"), []byte{0}))
	c.expect(suback<<4, 4, 0, 3, 0x80, 0x80)
	c.send(frame(unsubscribe<<4|2, u16(4), str("#")))
	c.expect(unsuback<<4, 2, 0, 4)
	c.send(message1(5, "boiler", "1"))
	c.expect(puback<<4, 2, 0, 5)
}

func TestWillIsAReadingOfAClientThatVanished(t *testing.T) {
	for name, end := range map[string]struct {
		says []byte
		want string
	}{
		"vanished":  {nil, "[boiler 1 status \"lost\"]"},
		"said so":   {[]byte{disconnect << 4, 0}, "[boiler 1]"},
		"malformed": {[]byte{0xff, 0}, "[boiler 1 status \"lost\"]"},
	} {
		shelf := &shelf{}
		w := listen(t, &MQTT{Server: &Server{Spool: shelf}})
		c := w.dial(t)
		c.send(hello("a", flagClean|flagWill|flagWillQoS, 0, str("status"), str(`"lost"`)), message1(1, "boiler", "1"))
		c.expect(connack<<4, 2, 0, 0, puback<<4, 2, 0, 1)
		if end.says != nil {
			c.send(end.says)
			c.cutOff()
		}
		_ = c.Close()
		w.settled(t)
		if got := fmt.Sprint(shelf.all()); got != end.want {
			t.Errorf("%s: the spool has %s, want %s", name, got, end.want)
		}
	}
}

// settled waits until no client is left.
func (w *listening) settled(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		w.mu.Lock()
		var one *session
		for s := range w.sessions {
			one = s
		}
		w.mu.Unlock()
		if one == nil {
			return
		}
		select {
		case <-one.gone:
		case <-time.After(10 * time.Second):
		}
	}
	t.Fatal("a session does not end")
}

func TestSecondClientOfANameTakesTheSessionOver(t *testing.T) {
	w := listen(t, &MQTT{Server: &Server{Spool: &shelf{}}})
	first, other := w.connected(t, "a"), w.connected(t, "b")
	nameless, second := w.connected(t, ""), w.connected(t, "")
	w.connected(t, "a")
	first.cutOff()
	for _, c := range []*client{other, nameless, second} {
		c.send([]byte{pingreq << 4, 0})
		c.expect(pingresp<<4, 0)
	}
}

func TestCredentialsAreAskedForWhereThereAreUsers(t *testing.T) {
	w := listen(t, &MQTT{Server: &Server{Spool: &shelf{}}, Users: map[string]string{"plc": "secret"}})
	for _, test := range []struct {
		hello []byte
		code  byte
	}{
		{hello("", flagClean, 0), wrongPassword},
		{hello("", flagClean|flagUser, 0, str("plc")), wrongPassword},
		{hello("", flagClean|flagUser|flagPassword, 0, str("plc"), str("guess")), wrongPassword},
		{hello("", flagClean|flagUser|flagPassword, 0, str("other"), str("")), wrongPassword},
		{hello("", flagClean|flagUser|flagPassword, 0, str("plc"), str("secret")), accepted},
	} {
		c := w.dial(t)
		c.send(test.hello)
		c.expect(connack<<4, 2, 0, test.code)
		if test.code != accepted {
			c.cutOff()
		}
	}
}

func TestConnectIsAnsweredByItsCode(t *testing.T) {
	w := listen(t, &MQTT{Server: &Server{Spool: &shelf{}}})
	for _, test := range []struct {
		hello []byte
		code  byte
	}{
		{hello("", flagClean, 0), accepted},
		{hello("lasting", 0, 60), accepted}, // with "no session present"
		{hello("", 0, 0), wrongID},
		{frame(connect<<4, str("MQTT"), []byte{5, 2}, u16(0), []byte{0}, str("v5")), wrongLevel},
		{frame(connect<<4, str("MQIsdp"), []byte{3, 2}, u16(0), str("v3")), wrongLevel},
		{frame(connect<<4, str("MQTT"), []byte{4 | bridgeMark, 2}, u16(0), str("bridge")), accepted},
		{hello("will", flagClean|flagWill, 0, str("not a stream"), str("")), notAuthorized},
	} {
		c := w.dial(t)
		c.send(test.hello)
		c.expect(connack<<4, 2, 0, test.code)
	}
}

func TestMalformedPacketsEndTheSessionAndNothingIsStored(t *testing.T) {
	shelf := &shelf{}
	w := listen(t, &MQTT{Server: &Server{Spool: shelf}})
	for name, b := range map[string][]byte{
		"type 0":                 {0, 0},
		"type 15":                {0xf0, 0},
		"a server's packet":      {puback << 4, 2, 0, 1},
		"QoS 3":                  frame(publish<<4|6, str("a"), u16(1)),
		"DUP of QoS 0":           frame(publish<<4|8, str("a")),
		"identifier 0":           message1(0, "a", "1"),
		"wildcard":               message1(1, "a/+", "1"),
		"no topic":               message1(1, "", "1"),
		"topic of half a rune":   message1(1, "\xc3", "1"),
		"topic with U+0000":      message1(1, "a\x00", "1"),
		"topic beyond the end":   frame(publish<<4|2, u16(9), []byte("abc")),
		"five bytes of length":   {publish << 4, 0xff, 0xff, 0xff, 0xff, 1},
		"PUBREL without flags":   frame(pubrel<<4, u16(1)),
		"PUBREL with more":       frame(pubrel<<4|2, u16(1), []byte{0}),
		"SUBSCRIBE of nothing":   frame(subscribe<<4|2, u16(1)),
		"SUBSCRIBE of QoS 3":     frame(subscribe<<4|2, u16(1), str("a"), []byte{3}),
		"PINGREQ with a body":    {pingreq << 4, 1, 0},
		"second CONNECT":         hello("b", flagClean, 0),
		"no stream":              message1(1, "not a stream", "1"),
		"far too long a control": frame(subscribe<<4|2, u16(1), str(strings.Repeat("a", maxControl)), []byte{0}),
		"larger than a hub takes": append(appendSize([]byte{publish<<4 | 2}, spool.MaxBody+6),
			append(append(str("a"), u16(1)...), make([]byte, spool.MaxBody+1)...)...),
	} {
		c := w.connected(t, "")
		_, _ = c.Write(b) // the server may hang up before all is sent
		if said := c.cutOff(); len(said) > 0 {
			t.Errorf("%s: the server says % x", name, said)
		}
	}
	for name, b := range map[string][]byte{
		"PUBLISH first":     message0("a", "1"),
		"flags":             append([]byte{connect<<4 | 6}, hello("a", flagClean, 0)[1:]...),
		"reserved flag":     hello("a", flagClean|flagReserved, 0),
		"will of QoS 3":     hello("a", flagClean|flagWill|3*flagWillQoS, 0, str("w"), str("")),
		"QoS without will":  hello("a", flagClean|flagWillQoS, 0),
		"password, no user": hello("a", flagClean|flagPassword, 0, str("p")),
		"more than it says": hello("a", flagClean, 0, []byte{0}),
		"HTTP":              []byte("GET / HTTP/1.1\r\nHost: device\r\n\r\n"),
		"TLS":               {0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0},
	} {
		c := w.dial(t)
		_, _ = c.Write(b)
		if said := c.cutOff(); len(said) > 0 {
			t.Errorf("%s: the server says % x", name, said)
		}
	}
	w.settled(t)
	if len(shelf.all()) > 0 {
		t.Errorf("the spool has %v", shelf.all())
	}
	c := w.connected(t, "")
	c.send(message1(1, "a", "1"))
	c.expect(puback<<4, 2, 0, 1)
}

func TestOnlyTheLoopbackInterfaceIsListenedOn(t *testing.T) {
	for _, address := range []string{"0.0.0.0:1883", ":1883", "192.0.2.1:1883", "[::]:1883", "example.com:1883", "1883"} {
		m := &MQTT{Server: &Server{Spool: &shelf{}}, Listen: address}
		if err := m.Run(t.Context()); fault.Of(err) != fault.Operator || !strings.Contains(fault.Hint(err), "telemetry.ingest.mqtt.listen") {
			t.Errorf("%s: %v (%s)", address, err, fault.Hint(err))
		}
	}
	for _, address := range []string{"127.0.0.1:0", "localhost:0", "[::1]:0"} {
		l, err := (&MQTT{Listen: address}).listen(t.Context())
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		_ = l.Close()
	}
}
