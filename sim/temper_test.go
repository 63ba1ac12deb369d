package sim_test

import (
	"crypto/elliptic"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

// enrolled enrolls d in fine weather, then lets the weather change.
func enrolled(t *testing.T, cloud *sim.Cloud, temper sim.Temper) credential {
	t.Helper()
	cert := operational(t, cloud, "d")
	cloud.SetTemper(temper)
	return cert
}

// tries sends n messages one by one, each until it is acknowledged, and counts the sessions it took.
func tries(t *testing.T, cloud *sim.Cloud, cert credential, n int) (sessions int) {
	t.Helper()
	c := atHub(t, cloud, "d", cert)
	sessions = 1
	for i := range n {
		for {
			c.publish(1, 1, events("d", fmt.Sprintf("seq=%d", i)), "x")
			if _, _, err := c.read(); err == nil {
				break
			}
			c = atHub(t, cloud, "d", cert)
			sessions++
		}
	}
	return sessions
}

func sequence(cloud *sim.Cloud) string {
	var all []string
	for _, m := range cloud.Received("d") {
		all = append(all, m.Properties["seq"])
	}
	return strings.Join(all, " ")
}

func TestALostAcknowledgementMakesADuplicate(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		cert := enrolled(t, cloud, sim.Temper{LostAck: 3})
		if n := tries(t, cloud, cert, 5); n != 3 || sequence(cloud) != "0 1 2 2 3 4 4" {
			t.Errorf("%d sessions, received %s", n, sequence(cloud))
		}
	})
}

func TestADroppedSessionLosesTheMessageInHand(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		cert := enrolled(t, cloud, sim.Temper{DropSession: 2})
		if n := tries(t, cloud, cert, 4); n != 4 || sequence(cloud) != "0 1 2 3" {
			t.Errorf("%d sessions, received %s", n, sequence(cloud))
		}
	})
}

func TestASilentAcknowledgementLeavesTheSessionUp(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		c := atHub(t, cloud, "d", enrolled(t, cloud, sim.Temper{SilentAck: 1}))
		c.publish(1, 1, events("d", "seq=0"), "x")
		c.silent()
		c.send(frame(0xc0))
		c.want(0xd0)
		if sequence(cloud) != "0" {
			t.Errorf("received %s", sequence(cloud))
		}
	})
}

func TestLatencyDelaysWithoutSlowingAWindow(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		c := atHub(t, cloud, "d", enrolled(t, cloud, sim.Temper{Latency: 100 * time.Millisecond}))
		begin := time.Now()
		for i := range byte(16) {
			c.publish(1, uint16(i)+1, events("d", ""), "x")
		}
		for i := range byte(16) {
			c.want(0x40, 0, i+1)
		}
		if took := time.Since(begin); took != 100*time.Millisecond {
			t.Errorf("16 in flight took %v", took)
		}
	})
}

func TestThrottledAndBroken(t *testing.T) {
	inBubble(t, sim.Temper{Throttle: 1, Broken: 1, ThrottleWait: 7 * time.Second}, func(t *testing.T, cloud *sim.Cloud) {
		c := atDPS(t, cloud, "d", newDPS, bootstrap(t, cloud, "d"))
		if status, retry, op, _ := c.register(""); status != 429 || retry != 7 || op.ErrorCode/1000 != 429 {
			t.Errorf("first: %d %d", status, retry)
		}
		if status, _, _, _ := c.register(""); status != 500 {
			t.Errorf("second: %d", status)
		}
		_, _, op, _ := c.register("")
		for i, want := range []int{429, 500, 202, 200} {
			if status, _, _, _ := c.poll(op.OperationID); status != want {
				t.Errorf("poll %d: %d, want %d", i, status, want)
			}
		}
	})
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		c := listening(t, cloud, enrolled(t, cloud, sim.Temper{Throttle: 1, Broken: 1}))
		body := issueBody(t, "d", newKey(t, elliptic.P256()))
		c.request("rid-1", body)
		if o, raw := c.answer(429, "rid-1"); o.ErrorCode != 429002 || o.RetryAfter != 2 {
			t.Error(raw)
		}
		c.request("rid-1", body)
		c.answer(500, "rid-1")
		c.request("rid-1", body)
		c.answer(202, "rid-1")
	})
}

func TestALostResultWaitsAndOneForgottenDoesNot(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		cert := enrolled(t, cloud, sim.Temper{LostResult: 1})
		body := issueBody(t, "d", newKey(t, elliptic.P256()))
		c := listening(t, cloud, cert)
		c.request("rid-1", body)
		c.answer(202, "rid-1")
		c.closed()
		c = listening(t, cloud, cert)
		c.answer(200, "rid-1")

		cloud.SetTemper(sim.Temper{NoResult: 1})
		c.request("rid-2", body)
		c.answer(202, "rid-2")
		c.silent()
		c.request("rid-2", body)
		c.answer(202, "rid-2")
		c.answer(200, "rid-2")
	})
}

func TestRegistrationsFailAsToldAndAnswersMayBeSwapped(t *testing.T) {
	inBubble(t, sim.Temper{FailedBy: 401002}, func(t *testing.T, cloud *sim.Cloud) {
		c := atDPS(t, cloud, "d", newDPS, bootstrap(t, cloud, "d"))
		if status, _, op, _ := c.register(""); status != 401 || op.ErrorCode != 401002 {
			t.Errorf("%d %+v", status, op)
		}
		cloud.SetTemper(sim.Temper{FailedBy: 400207})
		if raw, s := c.enroll(""); s.Status != "failed" || s.ErrorCode != 400207 || s.ErrorMessage == "" {
			t.Error(raw)
		}
		cloud.SetTemper(sim.Temper{Swapped: true})
		c.publish(0, 0, "$dps/registrations/PUT/iotdps-register/?$rid=r", "")
		if topic, _, _ := c.message(); topic != "$dps/registrations/res/202/?retry-after=1&$rid=r" {
			t.Error(topic)
		}
		cloud.SetTemper(sim.Temper{RetryAfter: -1})
		if _, retry, _, _ := c.register(""); retry != 0 {
			t.Errorf("retry-after %d", retry)
		}
	})
}

func TestOfflineEndsSessionsAndRefusesNewOnes(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		cert := operational(t, cloud, "d")
		c := atHub(t, cloud, "d", cert)
		cloud.SetTemper(sim.Temper{Offline: true})
		c.closed()
		if _, err := wire(t, cloud, sim.HubHost, cert); err == nil {
			t.Error("reached")
		}
		cloud.SetTemper(sim.Temper{RefuseConnect: 2})
		for i, want := range []int{-1, -1, 0} {
			if code := knock(t, cloud, cert, hello{}); code != want {
				t.Errorf("knock %d: %d, want %d", i, code, want)
			}
		}
	})
}

func TestSilenceAtConnectIsAConnectionWithoutCONNACK(t *testing.T) {
	silent := func(p sim.Point, _ string, n int) error {
		if p == sim.AtConnect {
			return sim.ErrSilent
		}
		return nil
	}
	inBubble(t, sim.Temper{Fault: silent}, func(t *testing.T, cloud *sim.Cloud) {
		cert, begin := operational(t, cloud, "d"), time.Now()
		if code := knock(t, cloud, cert, hello{}); code != -1 || time.Since(begin) < 30*time.Second {
			t.Errorf("CONNACK %d after %v", code, time.Since(begin))
		}
	})
}

func TestAFaultHookStrikesAtEveryPoint(t *testing.T) {
	seen := map[sim.Point]int{}
	hook := func(p sim.Point, device string, n int) error {
		seen[p]++
		switch {
		case device != "d":
			return errors.New("who is that?")
		case p == sim.AtConnect && n == 1:
			return &sim.Refusal{Code: 3, Message: "busy"}
		case p == sim.AtIssue && n == 1:
			return sim.ErrSilent
		case p == sim.AtAssigned && n == 1, p == sim.AtIssue && n == 2:
			return sim.ErrDrop
		}
		return nil
	}
	inBubble(t, sim.Temper{Fault: hook}, func(t *testing.T, cloud *sim.Cloud) {
		boot, key := bootstrap(t, cloud, "d"), newKey(t, elliptic.P256())
		c := atDPS(t, cloud, "d", newDPS, boot)
		_, _, op, _ := c.register(fmt.Sprintf(`{"csr":%q}`, csr(t, "d", key)))
		c.poll(op.OperationID)
		c.publish(0, 0, "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=1&operationId="+op.OperationID, "")
		c.closed()
		status, _, done, _ := atDPS(t, cloud, "d", newDPS, boot).poll(op.OperationID)
		if status != 200 {
			t.Fatalf("the answer that was lost: %d", status)
		}
		cert := credential{key, parseChain(t, done.RegistrationState.Chain)}
		if code := knock(t, cloud, cert, hello{}); code != 3 {
			t.Errorf("CONNACK %d", code)
		}
		k := listening(t, cloud, cert)
		body := issueBody(t, "d", newKey(t, elliptic.P256()))
		k.request("rid-1", body)
		k.silent()
		k.publish(0, 0, "$iothub/credentials/POST/issueCertificate/?$rid=rid-1", body)
		k.closed()
		k = listening(t, cloud, cert)
		k.request("rid-1", body)
		k.answer(202, "rid-1")
		k.answer(200, "rid-1")
		k.publish(1, 9, events("d", ""), "x")
		k.want(0x40, 0, 9)
		for _, p := range []sim.Point{sim.AtDPSConnect, sim.AtRegister, sim.AtPoll, sim.AtAssigned, sim.AtConnect, sim.AtPublish, sim.AtPuback, sim.AtIssue, sim.AtIssued} {
			if seen[p] == 0 {
				t.Errorf("%s was never asked", p)
			}
		}
		if n := cloud.Count("d", sim.Faulted); n != 4 {
			t.Errorf("%d faults on record: %+v", n, cloud.Events())
		}
	})
}
