package sim

import (
	"fmt"
	"strings"
	"time"
)

const (
	dpsLimit   = 96 << 10 // of a message, "Azure IoT Hub Device Provisioning Service limits"
	dpsAnswers = "$dps/registrations/res/"
	dpsPut     = "$dps/registrations/PUT/iotdps-register/?"
	dpsGet     = "$dps/registrations/GET/iotdps-get-operationstatus/?"
)

// dpsSession is a device at the DPS by MQTT.
type dpsSession struct {
	link     *link
	cloud    *Cloud
	claim    *claim
	filters  map[string]byte
	packetID uint16
}

// acceptDPS judges a certificate by its chain, its dates and its name, and a token by the enrolled keys. Whether the
// owner of a certificate is enrolled is answered to the registration, not to the connection.
func (c *Cloud) acceptDPS(l *link, p *connect) (handler, error) {
	scope, registration, v, err := parseDPSUsername(p.username)
	switch {
	case err != nil:
		return nil, &Refusal{Code: 4, Message: err.Error()}
	case scope != IDScope:
		return nil, &Refusal{Code: 5, Message: "unknown ID scope " + scope}
	case registration != p.clientID:
		return nil, &Refusal{Code: 5, Message: "client ID is not the registration ID"}
	case p.will != nil:
		return nil, &Refusal{Code: 5, Message: "a will: the DPS has none"}
	case !c.knows(dpsVersions, v):
		return nil, &Refusal{Code: 5, Message: "unknown api-version " + string(v)}
	}
	q := &claim{registration: registration, version: v, chain: l.chain, transport: l.transport()}
	if len(p.password) > 0 {
		if q.token, err = parseToken(string(p.password)); err != nil {
			return nil, &Refusal{Code: 5, Message: err.Error()}
		}
	}
	c.mu.Lock()
	_, err = c.attest(q)
	c.mu.Unlock()
	if err != nil {
		return nil, &Refusal{Code: 5, Message: err.Error()}
	}
	if err := c.fault(AtDPSConnect, registration); err != nil {
		c.log("dps", Faulted, registration, err.Error())
		return nil, err
	}
	l.endsWith(q.token)
	return &dpsSession{link: l, cloud: c, claim: q, filters: map[string]byte{}}, nil
}

func (s *dpsSession) present() bool             { return false }
func (s *dpsSession) begin()                    {}
func (s *dpsSession) subscribed()               {}
func (s *dpsSession) acknowledged(uint16) error { return nil }
func (s *dpsSession) end(bool)                  {}

func (s *dpsSession) subscribe(one subscription) (byte, error) {
	if !strings.HasPrefix(one.filter, dpsAnswers) {
		return 0x80, nil
	}
	s.filters[one.filter] = min(one.qos, 1)
	return min(one.qos, 1), nil
}

func (s *dpsSession) unsubscribe(filter string) { delete(s.filters, filter) }

func (s *dpsSession) publish(p *publish) error {
	put, isPut := strings.CutPrefix(p.topic, dpsPut)
	get, isGet := strings.CutPrefix(p.topic, dpsGet)
	parameters := put
	if isGet {
		parameters = get
	}
	rid := parameter(parameters, "$rid")
	if !isPut && !isGet || rid == "" {
		return badTopic(p.topic)
	}
	s.link.acknowledge(p)
	if isPut {
		return s.reply(rid, s.cloud.register(s.claim, p.payload))
	}
	return s.reply(rid, s.cloud.poll(s.claim, parameter(get, "operationId")))
}

// reply sends a result to where the device listens; a device that does not listen hears nothing.
func (s *dpsSession) reply(rid string, r result) error {
	if r.err != nil {
		return r.err
	}
	t := s.cloud.weather()
	parameters := "$rid=" + rid
	if wait := r.wait; wait > 0 {
		seconds := fmt.Sprintf("retry-after=%d", wholeSeconds(wait))
		if t.Swapped {
			parameters = seconds + "&" + parameters
		} else {
			parameters += "&" + seconds
		}
	}
	out := &publish{topic: fmt.Sprintf("%s%d/?%s", dpsAnswers, r.status, parameters), payload: r.body}
	for filter, qos := range s.filters {
		if matches(filter, out.topic) {
			out.qos = qos
			s.packetID = s.packetID%0xffff + 1
			out.id = s.packetID
			s.link.out.send(out.encode())
			break
		}
	}
	return nil
}

// wholeSeconds rounds up: Retry-After has no fractions.
func wholeSeconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
