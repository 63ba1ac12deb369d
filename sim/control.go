package sim

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxControl is how long a request to the control API may be.
const maxControl = 1 << 20

// Control serves the control API on l until the cloud is closed: what a person would do in Azure's portal, and the
// temper. With a secret each request must carry it as a bearer token; without one, whoever reaches l may do anything, as
// behind a socket that only its owner can open.
func (c *Cloud) Control(l net.Listener, secret string) {
	server := &http.Server{Handler: c.ControlHandler(secret), ReadHeaderTimeout: greeting, ErrorLog: log.New(io.Discard, "", 0)}
	c.running.Go(func() { server.Serve(l) })
	c.running.Go(func() {
		<-c.over
		server.Close()
	})
}

// ControlHandler is the control API without a listener. Its paths are in docs/cloudsim.md.
func (c *Cloud) ControlHandler(secret string) http.Handler {
	mux := http.NewServeMux()
	for pattern, f := range map[string]controlCall{
		"GET /v1/devices":                        c.listDevices,
		"GET /v1/devices/{id}":                   c.showDevice,
		"PUT /v1/devices/{id}":                   c.putDevice,
		"DELETE /v1/devices/{id}":                c.withDevice(c.DeleteDevice),
		"POST /v1/devices/{id}/disable":          c.withDevice(c.DisableDevice),
		"POST /v1/devices/{id}/enable":           c.withDevice(c.EnableDevice),
		"POST /v1/devices/{id}/disconnect":       c.withDevice(c.Disconnect),
		"POST /v1/devices/{id}/revoke":           c.withDevice(c.revokeAll),
		"POST /v1/devices/{id}/expire":           c.withDevice(c.ExpireDevice),
		"GET /v1/devices/{id}/twin":              c.showTwin,
		"PATCH /v1/devices/{id}/desired":         c.patchDesired,
		"POST /v1/devices/{id}/methods/{method}": c.postMethod,
		"POST /v1/devices/{id}/messages":         c.postMessage,
		"GET /v1/enrollments":                    c.listEnrollments,
		"PUT /v1/enrollments/{id}":               c.putEnrollment,
		"DELETE /v1/enrollments/{id}":            c.deleteEnrollment,
		"POST /v1/enrollments/{id}/disable":      c.switchEnrollment(true),
		"POST /v1/enrollments/{id}/enable":       c.switchEnrollment(false),
		"POST /v1/enrollments/{id}/expire":       c.expireEnrollment,
		"GET /v1/counters":                       c.showCounters,
		"GET /v1/temper":                         c.showTemper,
		"PUT /v1/temper":                         c.putTemper,
		"PATCH /v1/temper":                       c.patchTemper,
		"POST /v1/ezca/tokens":                   c.postEZCAToken,
	} {
		mux.HandleFunc(pattern, f.serve)
	}
	mux.HandleFunc("GET /v1/events", c.streamEvents)
	mux.HandleFunc("GET /v1/received", c.streamReceived)
	return guard(secret, mux)
}

func guard(secret string, next http.Handler) http.Handler {
	want := "Bearer " + secret
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given := r.Header.Get("Authorization")
		if secret != "" && subtle.ConstantTimeCompare([]byte(given), []byte(want)) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			respondJSON(w, http.StatusUnauthorized, controlError{Error: "the bearer token is not the control secret"})
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxControl)
		next.ServeHTTP(w, r)
	})
}

// controlCall answers a request with what it returns, as JSON; nil is 204.
type controlCall func(r *http.Request, body []byte) (any, error)

type controlError struct {
	Error     string `json:"error"`
	ErrorCode int    `json:"errorCode,omitempty"` // of the hub
}

func (f controlCall) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		respondJSON(w, http.StatusRequestEntityTooLarge, controlError{Error: err.Error()})
		return
	}
	v, err := f(r, body)
	no, refused := errors.AsType[*Refusal](err)
	switch {
	case refused:
		respondJSON(w, httpStatus(no.Code), controlError{no.Message, no.Code})
	case err != nil:
		respondJSON(w, http.StatusBadRequest, controlError{Error: err.Error()})
	case v == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		respondJSON(w, http.StatusOK, v)
	}
}

// decodeControl reads one JSON object whose members are all known. An empty body is an empty object.
func decodeControl(body []byte, into any) error {
	if len(strings.TrimSpace(string(body))) == 0 {
		return nil
	}
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("the body: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("the body: more than one JSON object")
	}
	return nil
}

// showTemper shows what is set, or all that can be with ?all=true.
func (c *Cloud) showTemper(r *http.Request, _ []byte) (any, error) {
	return json.RawMessage(c.weather().json(r.URL.Query().Get("all") == "true")), nil
}

func (c *Cloud) putTemper(_ *http.Request, body []byte) (any, error) {
	t, err := ParseTemper(body)
	if err != nil {
		return nil, err
	}
	t.Fault = c.weather().Fault
	c.SetTemper(t)
	return json.RawMessage(t.JSON()), nil
}

func (c *Cloud) patchTemper(_ *http.Request, body []byte) (any, error) {
	t := c.weather()
	if err := t.Merge(body); err != nil {
		return nil, err
	}
	c.SetTemper(t)
	return json.RawMessage(t.JSON()), nil
}

func (c *Cloud) postEZCAToken(*http.Request, []byte) (any, error) {
	return map[string]string{"token": c.EZCAToken()}, nil
}

// counters are how often each kind of event was, of all devices and of each.
type counters struct {
	Total         map[Kind]int            `json:"total"`
	Devices       map[string]map[Kind]int `json:"devices"`
	Refusals      map[string]int          `json:"refusals"` // by "point device"
	LostMessages  int                     `json:"lostMessages"`
	LostEvents    int                     `json:"lostEvents"`
	Registrations int                     `json:"enrollments"`
}

func (c *Cloud) showCounters(*http.Request, []byte) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := counters{Total: map[Kind]int{}, Devices: map[string]map[Kind]int{}, Refusals: map[string]int{}, Registrations: len(c.enrollments),
		LostMessages: c.journal.lostMessages, LostEvents: c.journal.lostEvents}
	for k, times := range c.journal.totals {
		n.Total[k] = times
	}
	for of, times := range c.journal.counts {
		if n.Devices[of.device] == nil {
			n.Devices[of.device] = map[Kind]int{}
		}
		n.Devices[of.device][of.kind] = times
	}
	for at, times := range c.journal.refused {
		n.Refusals[strings.TrimSpace(string(at.point)+" "+at.device)] = times
	}
	return n, nil
}

// duration reads a parameter of a request; where it is missing it is 0.
func duration(r *http.Request, name string) (time.Duration, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return 0, nil
	}
	if seconds, err := strconv.Atoi(text); err == nil {
		return time.Duration(seconds) * time.Second, nil
	}
	return time.ParseDuration(text)
}
