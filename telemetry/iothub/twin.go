package iothub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/mqtt"
)

// The topics of the device twin ("Communicate with an IoT hub using the MQTT protocol"). They are the same for modules.
const (
	twinPrefix    = "$iothub/twin/res/"
	twinFilter    = "$iothub/twin/res/#"
	desiredPrefix = "$iothub/twin/PATCH/properties/desired/"
	desiredFilter = "$iothub/twin/PATCH/properties/desired/#"
	twinTopic     = "$iothub/twin/GET/?$rid="
	reportTopic   = "$iothub/twin/PATCH/properties/reported/?$rid="
)

const (
	twinTimeout = 30 * time.Second
	// twinThrottled is the shortest wait after a 429, which comes without one: the hub counts per second, for all devices.
	twinThrottled = 10 * time.Second
	// maxReported is the size of the reported properties ("Understand and use device twins in IoT Hub").
	maxReported = 32 << 10
)

var errTwinSilent = errors.New("the hub does not answer about the twin")

// Twin returns the twin's document: {"desired":{…,"$version":N},"reported":{…,"$version":M}}. Changes of what is desired
// are listened for before it is read. A hub that is too busy is Transient, with the shortest wait.
func (c *Conn) Twin(ctx context.Context) ([]byte, error) {
	a, err := c.askTwin(ctx, twinTopic, nil)
	if err == nil {
		err = a.twinError(http.StatusOK)
	}
	if err != nil {
		return nil, fmt.Errorf("read the twin: %w", err)
	}
	return a.body, nil
}

// Report merges patch into the twin's reported properties, and returns their new version, 0 where the hub does not say.
// A patch that the hub does not take is a Permanent error; a hub that is too busy is Transient, with the shortest wait.
// After any other error the patch may have arrived.
func (c *Conn) Report(ctx context.Context, patch []byte) (version int64, err error) {
	if len(patch) > maxReported {
		return 0, fault.As(fault.Permanent, fmt.Errorf("report to the twin: %d bytes are more than its %d", len(patch), maxReported))
	}
	a, err := c.askTwin(ctx, reportTopic, patch)
	if err == nil {
		err = a.twinError(http.StatusNoContent)
	}
	if err != nil {
		return 0, fmt.Errorf("report to the twin: %w", err)
	}
	version, _ = strconv.ParseInt(a.version, 10, 64)
	return max(version, 0), nil
}

// askTwin publishes to topic, and returns the answer.
func (c *Conn) askTwin(ctx context.Context, topic string, body []byte) (reply, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, twinTimeout, errTwinSilent)
	defer cancel()
	if err := c.hearTwin(ctx); err != nil {
		return reply{}, err
	}
	rid := requestID() // an answer that a session before was owed has another
	answer := c.down.expect(rid)
	defer c.down.dismiss(rid)
	c.session.Publish(topic+rid, body)
	select {
	case a := <-answer:
		return a, nil
	case <-ctx.Done():
		return reply{}, context.Cause(ctx)
	case <-c.session.Done():
		return reply{}, c.session.Err()
	}
}

// hearTwin waits until the hub would answer.
func (c *Conn) hearTwin(ctx context.Context) error {
	select {
	case <-c.down.ready:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.session.Done():
		return c.session.Err()
	}
	if !c.down.trial.open() {
		return fault.AskOperator(errors.New("the hub ends each session that asks for the twin"), noRemote)
	}
	return c.hear(ctx, twinFilter)
}

func (d *downlink) expect(rid string) <-chan reply {
	answer := make(chan reply, 1)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked[rid] = answer
	return answer
}

func (d *downlink) dismiss(rid string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.asked, rid)
}

// reply is one answer about the twin.
type reply struct {
	status  int // HTTP-like
	rid     string
	version string // of the reported properties, after a change of them
	body    []byte
}

// twinAnswer takes $iothub/twin/res/{status}/?$rid={rid}. One that nobody waits for is passed over.
func (c *Conn) twinAnswer(topic string, body []byte) bool {
	if !strings.HasPrefix(topic, twinPrefix) {
		return false
	}
	a, ok := parseTwinAnswer(topic, body)
	if !ok {
		return true
	}
	c.down.mu.Lock()
	defer c.down.mu.Unlock()
	if answer := c.down.asked[a.rid]; answer != nil {
		delete(c.down.asked, a.rid)
		answer <- a
	}
	return true
}

func parseTwinAnswer(topic string, body []byte) (reply, bool) {
	status, query, ok := mqtt.ParseResponse(topic, twinPrefix)
	if !ok || query.Get("$rid") == "" {
		return reply{}, false
	}
	return reply{status: status, rid: query.Get("$rid"), version: query.Get("$version"), body: body}, true
}

// twinError says why the answer is not the good one, or nil.
func (a reply) twinError(good int) error {
	if a.status == good {
		return nil
	}
	err := fmt.Errorf("the hub answers %d %s", a.status, http.StatusText(a.status))
	switch {
	case a.status == http.StatusTooManyRequests:
		return fault.Later(err, twinThrottled)
	case a.status >= http.StatusInternalServerError:
		return err
	}
	return fault.As(fault.Permanent, err)
}

// desired takes $iothub/twin/PATCH/properties/desired/?$version={N}.
func (c *Conn) desired(topic string, body []byte) bool {
	if !strings.HasPrefix(topic, desiredPrefix) {
		return false
	}
	tell := c.config.Handlers.Desired
	if version, ok := parseDesired(topic); ok && tell != nil {
		tell(version, body)
	}
	return true
}

// parseDesired is the version in the topic of a change.
func parseDesired(topic string) (version int64, ok bool) {
	rest, ok := strings.CutPrefix(topic, desiredPrefix)
	if !ok {
		return 0, false
	}
	text, _ := parameter(rest, "$version")
	version, err := strconv.ParseInt(text, 10, 64)
	return version, err == nil && version > 0
}
