package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

// Actions are what our own methods do. What is nil the device cannot do. Each returns when ctx ends, if not before.
type Actions struct {
	Status func() any                             // for status; as JSON
	Renew  func(ctx context.Context) error        // asks for a renewal, and does not wait for it
	Check  func(ctx context.Context) (any, error) // for check; as JSON
	Level  *Level                                 // for log-level
	Reboot func() error                           // of the machine
}

// patience is how long a method may take: the service waits 30 s where it says nothing else ("Understand and invoke
// direct methods from IoT Hub").
const patience = 25 * time.Second

// maxPayload is the size of a payload, each way.
const maxPayload = 128 << 10

// answer is what a method says.
type answer struct {
	status int
	body   any
}

func failed(status int, format string, args ...any) answer {
	return answer{status, map[string]any{"error": fmt.Sprintf(format, args...)}}
}

// own are our methods, in the order of their names.
func (r *Remote) own() map[string]func(context.Context, []byte) answer {
	a := r.config.Actions
	all := map[string]func(context.Context, []byte) answer{"ping": ping}
	if a.Status != nil {
		all["status"] = func(context.Context, []byte) answer { return answer{http.StatusOK, a.Status()} }
	}
	if a.Renew != nil {
		all["renew"] = func(ctx context.Context, _ []byte) answer { return accepted(a.Renew(ctx)) }
	}
	if a.Check != nil {
		all["check"] = func(ctx context.Context, _ []byte) answer { return checked(a.Check(ctx)) }
	}
	if a.Level != nil {
		all["log-level"] = a.Level.method
	}
	if a.Reboot != nil {
		all["reboot"] = r.reboot
	}
	return all
}

// Method answers a direct method, within 25 seconds: 404 for a name that nobody has, 403 for one that remote.methods does
// not allow, 429 where too many of its kind wait, 504 where a program does not answer in time.
func (r *Remote) Method(ctx context.Context, name string, payload []byte) (status int, body []byte) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	a := r.call(ctx, name, payload)
	r.config.Log.Info("the cloud called a method", "method", clean(name), "status", a.status)
	body, err := json.Marshal(a.body)
	if err != nil || len(body) > maxPayload {
		return http.StatusInternalServerError, []byte(`{"error":"the answer is not JSON of at most 128 KB"}`)
	}
	return a.status, body
}

func (r *Remote) call(ctx context.Context, name string, payload []byte) (a answer) {
	defer func() {
		if p := recover(); p != nil {
			a = failed(http.StatusInternalServerError, "the method panics: %v", p)
		}
	}()
	own := r.own()
	do, ours := own[name]
	switch {
	case len(payload) > maxPayload:
		return failed(http.StatusRequestEntityTooLarge, "the payload has more than 128 KB")
	case len(payload) > 0 && !json.Valid(payload):
		return failed(http.StatusBadRequest, "the payload is not JSON")
	case !ours && !r.programs.know(name):
		return answer{http.StatusNotFound, map[string]any{"error": "there is no method " + clean(name), "methods": r.names(own)}}
	case !r.allows(name, ours):
		return failed(http.StatusForbidden, "remote.methods in the configuration file does not allow %s", clean(name))
	case ours:
		return do(ctx, payload)
	}
	return r.programs.call(ctx, name, payload)
}

func (r *Remote) allows(name string, ours bool) bool {
	return slices.Contains(r.config.Methods, name) || !ours && slices.Contains(r.config.Methods, "*")
}

// names are the methods that can be called now.
func (r *Remote) names(own map[string]func(context.Context, []byte) answer) []string {
	all := []string{}
	for name := range own {
		if r.allows(name, true) {
			all = append(all, name)
		}
	}
	for _, name := range r.programs.known() {
		if r.allows(name, false) {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

func ping(context.Context, []byte) answer {
	return answer{http.StatusOK, map[string]any{"time": time.Now().UTC().Format(time.RFC3339Nano)}}
}

// accepted is 202 for what has begun.
func accepted(err error) answer {
	if err != nil {
		return checked(nil, err)
	}
	return answer{http.StatusAccepted, map[string]any{"accepted": true}}
}

// checked is 200, or 500 with what went wrong and what to do about it.
func checked(v any, err error) answer {
	if err == nil {
		return answer{http.StatusOK, v}
	}
	status, body := http.StatusInternalServerError, map[string]any{"error": clean(err.Error())}
	if errors.Is(err, context.DeadlineExceeded) {
		status = http.StatusGatewayTimeout
	}
	if hint := fault.Hint(err); hint != "" {
		body["hint"] = hint
	}
	if v != nil {
		body["result"] = v
	}
	return answer{status, body}
}

// arguments reads the payload of a method, which may be empty or null.
func arguments(payload []byte, into any) *answer {
	if len(payload) == 0 {
		return nil
	}
	if err := json.Unmarshal(payload, into); err != nil {
		no := failed(http.StatusBadRequest, "the payload: %v", err)
		return &no
	}
	return nil
}

// duration reads a time such as 90s, within bounds.
func duration(text string, usual, least, most time.Duration) (time.Duration, error) {
	if text == "" {
		return usual, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < least || d > most {
		return 0, fmt.Errorf("%s is no time from %v to %v: write 30s, 5m or 1h", clean(text), least, most)
	}
	return d, nil
}

// power is the reboot that is coming.
type power struct {
	mu    sync.Mutex
	timer *time.Timer
}

const (
	usualReboot = 5 * time.Second // for the answer to arrive
	leastReboot = 2 * time.Second
	mostReboot  = time.Hour
)

// reboot takes {"in":"30s"}.
func (r *Remote) reboot(_ context.Context, payload []byte) answer {
	var in struct {
		In string `json:"in"`
	}
	if no := arguments(payload, &in); no != nil {
		return *no
	}
	wait, err := duration(in.In, usualReboot, leastReboot, mostReboot)
	if err != nil {
		return failed(http.StatusBadRequest, "in: %v", err)
	}
	r.power.mu.Lock()
	defer r.power.mu.Unlock()
	if r.power.timer != nil {
		return failed(http.StatusConflict, "a reboot is coming already")
	}
	r.config.Log.Warn("the cloud reboots the machine", "wait", wait)
	r.power.timer = time.AfterFunc(wait, r.rebootNow)
	return answer{http.StatusAccepted, map[string]any{"accepted": true, "in": wait.String()}}
}

func (r *Remote) rebootNow() {
	if err := r.config.Actions.Reboot(); err != nil {
		r.config.Log.Error("the machine does not reboot", "err", err, "hint", fault.Hint(err))
	}
	r.power.mu.Lock()
	defer r.power.mu.Unlock()
	r.power.timer = nil
}
