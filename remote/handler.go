package remote

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

const (
	usualWait  = 30 * time.Second
	mostWait   = 5 * time.Minute
	usualLease = time.Minute
	mostLease  = time.Hour
	// maxWaiting programs ask at a time: each holds a connection of a server that has few.
	maxWaiting = 16
	// late is what an answer may take beyond its wait.
	late = 10 * time.Second
)

// Handler is for programs on this device: /v1/methods/ and /v1/messages/. Who can reach it may answer any method that
// remote.methods allows to programs, and take the cloud's messages.
func (r *Remote) Handler() http.Handler {
	h := &handler{remote: r}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/methods/next", h.waiting(h.nextCall))
	mux.HandleFunc("GET /v1/methods/{name}/next", h.waiting(h.nextCall))
	mux.HandleFunc("POST /v1/methods/{id}/result", h.result)
	mux.HandleFunc("GET /v1/messages/next", h.waiting(h.nextMessage))
	mux.HandleFunc("DELETE /v1/messages/{id}", h.ends(r.inbox.acknowledge))
	mux.HandleFunc("POST /v1/messages/{id}/done", h.ends(r.inbox.acknowledge))
	mux.HandleFunc("POST /v1/messages/{id}/release", h.ends(r.inbox.release))
	mux.HandleFunc("/", unknown)
	return mux
}

type handler struct {
	remote *Remote
	asking atomic.Int32
}

func unknown(w http.ResponseWriter, r *http.Request) {
	say(w, failed(http.StatusNotFound, "nothing takes %s at %s", clean(r.Method), clean(r.URL.Path)))
}

func say(w http.ResponseWriter, a answer) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(a.status)
	err := json.NewEncoder(w).Encode(a.body)
	if err == nil {
		err = http.NewResponseController(w).Flush()
	}
	return err
}

// waiting gives a request the time that its ?wait asks for, and bounds how many there are. Its context ends with that
// time, or when the program hangs up.
func (h *handler) waiting(f func(context.Context, http.ResponseWriter, *http.Request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		wait, err := duration(r.URL.Query().Get("wait"), usualWait, 0, mostWait)
		if err != nil {
			say(w, failed(http.StatusBadRequest, "wait: %v", err))
			return
		}
		defer h.asking.Add(-1)
		if h.asking.Add(1) > maxWaiting {
			w.Header().Set("Retry-After", "1")
			say(w, failed(http.StatusTooManyRequests, "%d requests wait already: ask for several methods with ?names=a,b", maxWaiting))
			return
		}
		// The server's own deadline is for readings, which are there at once. A server that has none is fine, too.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(wait + late))
		ctx, cancel := context.WithTimeout(r.Context(), wait)
		defer cancel()
		f(ctx, w, r)
	}
}

// isMethodName says whether a program's method may be called so: a letter or digit, and up to 63 of these and of _.-
func isMethodName(s string) bool {
	const first = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	return s != "" && len(s) <= 64 && strings.Trim(s, first+"_.-") == "" && strings.IndexByte(first, s[0]) >= 0
}

// callNames are those that the request asks for: one in its path, or several in ?names=a,b.
func (h *handler) callNames(r *http.Request) ([]string, *answer) {
	names := strings.Split(r.URL.Query().Get("names"), ",")
	if one := r.PathValue("name"); one != "" {
		names = []string{one}
	}
	own := h.remote.own()
	for _, name := range names {
		var no answer
		switch {
		case !isMethodName(name):
			no = failed(http.StatusBadRequest, "%q is no name of a method: use 1 to 64 of a-z A-Z 0-9 - _ .", clean(name))
		case own[name] != nil || name == "reboot" || name == "renew":
			no = failed(http.StatusConflict, "%s is a method of the agent", name)
		case !h.remote.allows(name, false):
			no = failed(http.StatusForbidden, "remote.methods in the configuration file does not allow %s", name)
		default:
			continue
		}
		return nil, &no
	}
	return names, nil
}

// nextCall hands out one call, or says 204 where none has come.
func (h *handler) nextCall(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	names, no := h.callNames(r)
	if no != nil {
		say(w, *no)
		return
	}
	e, ok := h.remote.programs.next(ctx, names)
	switch {
	case !ok:
		say(w, failed(http.StatusTooManyRequests, "programs have %d methods already", maxNames))
	case e == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		err := say(w, answer{http.StatusOK, map[string]any{"id": e.id, "name": e.name, "payload": e.payload, "ends": e.ends.UTC().Format(time.RFC3339)}})
		if err != nil || r.Context().Err() != nil {
			h.remote.programs.giveBack(e)
		}
	}
}

// result takes the answer to a call: JSON, with ?status=200.
func (h *handler) result(w http.ResponseWriter, r *http.Request) {
	status := http.StatusOK
	if text := r.URL.Query().Get("status"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 100 || n > 999 {
			say(w, failed(http.StatusBadRequest, "%q is no status from 100 to 999", clean(text)))
			return
		}
		status = n
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPayload))
	if len(body) == 0 && err == nil {
		body = []byte("null")
	}
	if err != nil || !json.Valid(body) {
		say(w, failed(http.StatusBadRequest, "the answer is not JSON of at most 128 KB"))
		return
	}
	if !h.remote.programs.answer(r.PathValue("id"), answer{status, json.RawMessage(body)}) {
		say(w, failed(http.StatusNotFound, "nobody waits for this answer any more"))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// nextMessage hands out one message, or says 204 where none has come.
func (h *handler) nextMessage(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	lease, err := duration(r.URL.Query().Get("lease"), usualLease, time.Second, mostLease)
	if err != nil {
		say(w, failed(http.StatusBadRequest, "lease: %v", err))
		return
	}
	l := h.remote.inbox.next(ctx, lease)
	if l == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	body := map[string]any{"id": l.id, "properties": l.properties, "lease": lease.String()}
	kind, content := l.content()
	body[kind] = content
	if say(w, answer{http.StatusOK, body}) != nil || r.Context().Err() != nil {
		h.remote.inbox.release(l.id)
	}
}

// content is the body as JSON carries it best: json where it says that it is, text where it is that, else base64.
func (l *letter) content() (kind string, content any) {
	switch {
	case strings.HasPrefix(l.properties["$.ct"], "application/json") && json.Valid(l.body):
		return "json", json.RawMessage(l.body)
	case utf8.Valid(l.body):
		return "text", string(l.body)
	}
	return "base64", base64.StdEncoding.EncodeToString(l.body)
}

// ends is what a program says of a message that it has.
func (h *handler) ends(f func(id string) bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !f(r.PathValue("id")) {
			say(w, failed(http.StatusNotFound, "there is no such message: it was acknowledged, or is the hub's again"))
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}
