package sim

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// dpsHandler serves devices under /{scope}/registrations, "Runtime Registration" of the DPS device API, and those
// who enroll them everywhere else.
func (c *Cloud) dpsHandler(l *link) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/"), "/")
		if len(parts) >= 3 && parts[1] == "registrations" {
			h := &dpsRequest{cloud: c, link: l, scope: parts[0], registration: parts[2], rest: parts[3:]}
			h.serve(w, r)
			return
		}
		c.serveEnrollments(w, r, parts)
	})
}

// dpsRequest is one request of a device.
type dpsRequest struct {
	cloud               *Cloud
	link                *link
	scope, registration string
	rest                []string
}

func (h *dpsRequest) serve(w http.ResponseWriter, r *http.Request) {
	serve, method := h.route()
	switch {
	case serve == nil:
		h.write(w, refuse(404000, "Resource not found."))
	case r.Method != method:
		w.Header().Set("Allow", method)
		h.write(w, refuse(405000, "Method not allowed."))
	default:
		h.judged(w, r, serve)
	}
}

// route finds the operation of the path: "Register Device", "Operation Status Lookup", "Device Registration Status Lookup".
func (h *dpsRequest) route() (serve func(*claim, []byte) result, method string) {
	switch {
	case len(h.rest) == 0:
		return h.cloud.lookup, http.MethodPost
	case len(h.rest) == 1 && h.rest[0] == "register":
		return h.cloud.register, http.MethodPut
	case len(h.rest) == 2 && h.rest[0] == "operations":
		return func(q *claim, _ []byte) result { return h.cloud.poll(q, h.rest[1]) }, http.MethodGet
	}
	return nil, ""
}

func (h *dpsRequest) judged(w http.ResponseWriter, r *http.Request, serve func(*claim, []byte) result) {
	q, no := h.claim(r)
	var body []byte
	if no == nil {
		var err error
		if body, err = readBody(r, dpsLimit); err != nil {
			no = &Refusal{Code: 400004, Message: err.Error()}
		}
	}
	if no != nil {
		h.cloud.refuseAt(AtRegister, h.registration)
		h.cloud.log("dps", Answered, h.registration, no.Error())
		h.write(w, no.result())
		return
	}
	h.link.name = h.registration
	result := serve(q, body)
	if errors.Is(result.err, ErrSilent) {
		select {
		case <-r.Context().Done():
		case <-h.link.gone:
		}
	}
	if result.err != nil {
		panic(http.ErrAbortHandler) // net/http's way to end a connection without an answer
	}
	if result.status == http.StatusAccepted {
		w.Header().Set("Location", fmt.Sprintf("https://%s%s", r.Host, r.URL.Path))
	}
	h.write(w, result)
}

// claim is what the device presents. A body is an object of JSON; a GET may have one too, which nobody reads.
func (h *dpsRequest) claim(r *http.Request) (*claim, *Refusal) {
	v, err := parseVersion(r.URL.Query().Get("api-version"))
	if err != nil || !h.cloud.knows(dpsVersions, v) {
		return nil, &Refusal{Code: 400003, Message: "api-version is missing or unknown."}
	}
	if h.scope != IDScope {
		return nil, &Refusal{Code: 404002, Message: "ID scope not found."}
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if r.Method != http.MethodGet && (err != nil || media != "application/json") {
		return nil, &Refusal{Code: 415000, Message: "Unsupported media type."}
	}
	q := &claim{registration: h.registration, version: v, chain: h.link.chain, transport: byHTTPS}
	if given := r.Header.Get("Authorization"); given != "" {
		if q.token, err = parseToken(given); err != nil {
			return nil, &Refusal{Code: 401000, Message: "Unauthorized: " + err.Error() + "."}
		}
	}
	return q, nil
}

func (h *dpsRequest) write(w http.ResponseWriter, r result) {
	if r.code != 0 {
		w.Header().Set("x-ms-error-code", strconv.Itoa(r.code))
	}
	if r.wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(wholeSeconds(r.wait)))
	}
	writeJSON(w, r.status, r.body)
}
