package sim

import (
	"errors"
	"time"
)

// throttle is what the hub counts under a temper, "IoT Hub quotas and throttling". The cloud's mutex guards it.
type throttle struct {
	second   time.Time // that connects belong to
	connects int
	sends    time.Time // when the next message would be in time, were all sent evenly
	taken    int
}

var errQuota = errors.New("403002 the quota of messages is used up")

// connectable counts a connection, and says why it is one too many, or nil. With which code Azure refuses those is not
// documented.
func (c *Cloud) connectable() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &c.throttle
	if now := time.Now().Truncate(time.Second); !now.Equal(t.second) {
		t.second, t.connects = now, 0
	}
	t.connects++
	if rate := c.temper.ConnectRate; rate > 0 && t.connects > rate {
		return &Refusal{Code: 3, Message: "429001 too many connections a second"}
	}
	return nil
}

// admitMessage counts a message, and returns how long its acknowledgement waits: not at all in a burst of a second,
// longer and longer where more come than the hub takes. An error ends the session, as MQTT 3.1.1 has no other way.
func (s *hubSession) admitMessage() (wait time.Duration, err error) {
	wait, err = s.cloud.admitMessage()
	if err != nil {
		s.cloud.refuseAt(AtPublish, s.device.id)
		s.cloud.log("hub", Faulted, s.device.id, err.Error())
	}
	return wait, err
}

func (c *Cloud) admitMessage() (wait time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &c.throttle
	t.taken++
	if c.temper.DailyQuota > 0 && t.taken > c.temper.DailyQuota {
		return 0, errQuota
	}
	if c.temper.SendRate <= 0 {
		return 0, nil
	}
	now := time.Now()
	if burst := now.Add(-time.Second); t.sends.Before(burst) {
		t.sends = burst
	}
	t.sends = t.sends.Add(time.Second / time.Duration(c.temper.SendRate))
	wait = t.sends.Sub(now)
	if c.temper.SendBacklog > 0 && wait > c.temper.SendBacklog {
		return 0, errors.New("429003 the backlog of messages is full")
	}
	return wait, nil
}
