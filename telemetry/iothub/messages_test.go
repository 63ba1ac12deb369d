package iothub

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"
	"testing/synctest"

	"github.com/devid-agent/devid-agent/sim"
)

func messages(f func(ctx context.Context, properties map[string]string, body []byte) error) func(*Config) {
	return func(c *Config) { c.Handlers = Handlers{Message: f} }
}

func (w *world) send(m sim.ToDevice) {
	w.Helper()
	if _, err := w.cloud.SendC2D(device, m); err != nil {
		w.Fatal(err)
	}
}

func TestAMessageHasItsPropertiesAndIsForgottenByTheHubOnlyWhenTaken(t *testing.T) {
	var deliver chan error
	var got string
	inWorld(t, sim.Temper{}, func(w *world) {
		deliver = make(chan error)
		w.open()
		w.send(sim.ToDevice{ID: "m 1", Properties: map[string]string{"a b": "c&d=e+f", "$.ct": "text/plain"}, Body: []byte("hello")})
		synctest.Wait()
		if n := w.cloud.PendingC2D(device); n != 1 {
			t.Fatalf("%d pending before anybody has it", n)
		}
		deliver <- nil
		synctest.Wait()
		if n := w.cloud.PendingC2D(device); n != 0 {
			t.Errorf("%d pending after it was taken", n)
		}
		if want := `map[$.ct:text/plain $.mid:m 1 $.to:/devices/gateway-1/messages/deviceBound a b:c&d=e+f] hello`; got != want {
			t.Errorf("%s\n%s", got, want)
		}
	}, messages(func(_ context.Context, properties map[string]string, body []byte) error {
		got = fmt.Sprintf("%v %s", properties, body)
		return <-deliver
	}))
}

func TestAMessageThatNobodyTakesComesAgainInTheNextSession(t *testing.T) {
	tries := 0
	inWorld(t, sim.Temper{}, func(w *world) {
		c := w.open()
		w.send(sim.ToDevice{Body: []byte("again")})
		synctest.Wait()
		if n := w.cloud.PendingC2D(device); tries != 1 || n != 1 {
			t.Fatalf("tried %d times, %d pending", tries, n)
		}
		c.Close()
		w.open()
		if n := w.cloud.PendingC2D(device); tries != 2 || n != 0 {
			t.Errorf("tried %d times, %d pending", tries, n)
		}
	}, messages(func(context.Context, map[string]string, []byte) error {
		tries++
		if tries == 1 {
			return errors.New("nobody is here")
		}
		return nil
	}))
}

func TestAHubFullOfMessagesDoesNotHoldUpTelemetry(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		c := w.open()
		for i := range maxHeld {
			w.send(sim.ToDevice{Body: fmt.Append(nil, i)})
		}
		if err := sendAll(t, c, records(200)); err != nil {
			t.Error(err)
		}
		if n := w.cloud.PendingC2D(device); n != maxHeld {
			t.Errorf("%d pending", n)
		}
	}, messages(func(ctx context.Context, _ map[string]string, _ []byte) error {
		<-ctx.Done()
		return ctx.Err()
	}))
}

func TestPropertiesAreReadAsTheDocumentationAndTheSDKsHaveThem(t *testing.T) {
	for bag, want := range map[string]map[string]string{
		"%24.mid=a%201&b=":                {"$.mid": "a 1", "b": ""},
		"/?prop1&prop2=&prop3=a%20string": {"prop1": "", "prop2": "", "prop3": "a string"},
		"?$.cid=1+1":                      {"$.cid": "1+1"},
		"":                                {},
		"bad=%zz&=nameless&good=1":        {"bad": "%zz", "good": "1"},
		"%24.to=%2Fdevices%2Fd%2Fmessages%2Fx%3D": {"$.to": "/devices/d/messages/x="},
	} {
		if got := parseBag(bag); !maps.Equal(got, want) {
			t.Errorf("%s: %v", bag, got)
		}
	}
}

func TestAModuleHearsItsInputs(t *testing.T) {
	c := &Conn{address: "devices/d/modules/m"}
	if got := c.messageFilter(); got != "devices/d/modules/m/inputs/#" {
		t.Error(got)
	}
	if got := c.properties("in%201/%24.mid=7&a=b"); !maps.Equal(got, map[string]string{"$.input": "in 1", "$.mid": "7", "a": "b"}) {
		t.Error(got)
	}
}
