package iothub

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/devid-agent/devid-agent/sim"
)

// MQTT 3.1.1, 4.6 has acknowledgements in the order of the messages, and Azure's protocol gateway hangs up on others.
func TestMessagesThatAreTakenOutOfTurnAreAcknowledgedInTurn(t *testing.T) {
	taken := map[string]chan error{}
	inWorld(t, sim.Temper{}, func(w *world) {
		for _, id := range []string{"1", "2", "3"} {
			taken[id] = make(chan error)
		}
		c := w.open()
		for _, id := range []string{"1", "2", "3"} {
			w.send(sim.ToDevice{ID: id})
		}
		synctest.Wait()
		wantPending := func(after string, n int) {
			t.Helper()
			synctest.Wait()
			if got := w.cloud.PendingC2D(device); got != n || !w.cloud.Online(device) {
				t.Errorf("after %s: %d messages are the hub's, want %d; online: %v, %v", after, got, n, w.cloud.Online(device), c.Err())
			}
		}
		taken["2"] <- nil
		wantPending("the second", 3)
		taken["1"] <- nil
		wantPending("the first", 1)
		taken["3"] <- nil
		wantPending("the third", 0)
	}, messages(func(_ context.Context, properties map[string]string, _ []byte) error {
		return <-taken[properties["$.mid"]]
	}))
}

func TestAMessageThatNobodyTakesDoesNotEndTheSessionWhenOtherThingsCome(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		c := w.open()
		w.send(sim.ToDevice{ID: "1"})
		synctest.Wait()
		if _, err := w.cloud.SetDesired(device, []byte(`{"a":1}`)); err != nil {
			t.Fatal(err)
		}
		if got := <-w.invoke("ping", ""); got.err != nil || got.Status != 200 {
			t.Errorf("%+v", got)
		}
		if _, err := c.Twin(w.Context()); err != nil {
			t.Error(err)
		}
		_, key := w.nextKey()
		if _, err := w.issuer().Issue(w.Context(), device, key); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if err := c.Err(); err != nil {
			t.Error(err)
		}
	}, answering, func(c *Config) {
		c.Handlers.Message = func(ctx context.Context, _ map[string]string, _ []byte) error { <-ctx.Done(); return ctx.Err() }
	})
}

// The hub keeps what an earlier configuration has subscribed to.
func TestMessagesThatAreNoLongerWantedDoNotEndTheSessionAtTheRenewal(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		w.open().Close()
		config := w.hub.config
		config.Handlers.Message = nil
		w.hub = New(config)
		c := w.open()
		w.send(sim.ToDevice{ID: "1"})
		_, key := w.nextKey()
		if _, err := w.issuer().Issue(w.Context(), device, key); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if n := w.cloud.PendingC2D(device); n != 1 || c.Err() != nil {
			t.Errorf("%d messages are the hub's, %v", n, c.Err())
		}
	}, answering)
}
