package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

const (
	prefix   = "/v1/telemetry/"
	theRoute = "POST " + prefix + "{stream}"
)

// refusal is an answer that is not yes: what is wrong, and what to do about it.
type refusal struct {
	status int
	Err    string        `json:"error"`
	Hint   string        `json:"hint,omitempty"`
	after  time.Duration // when to come again
	cause  error
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+prefix+"{stream}", s.telemetry)
	mux.HandleFunc("GET /v1/health", s.health)
	mux.HandleFunc(prefix+"{stream}", wrongMethod("POST"))
	mux.HandleFunc("/v1/health", wrongMethod("GET, HEAD"))
	mux.HandleFunc("/", unknownPath)
	return mux
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, struct {
		Status string `json:"status"`
		Readings
	}{"ok", s.Readings()})
}

func wrongMethod(allow string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", allow)
		refuse(w, &refusal{status: http.StatusMethodNotAllowed, Err: r.Method + " is not what this path takes", Hint: "use " + allow})
	}
}

func unknownPath(w http.ResponseWriter, r *http.Request) {
	refuse(w, &refusal{status: http.StatusNotFound, Err: "nothing is at " + r.URL.Path, Hint: "send readings by " + theRoute})
}

// telemetry promises a reading: 200 is said only after Append has returned.
func (s *Server) telemetry(w http.ResponseWriter, r *http.Request) {
	seq, no := s.take(w, r)
	s.account(no)
	if no != nil {
		refuse(w, no)
		return
	}
	answer(w, http.StatusOK, struct {
		Seq uint64 `json:"seq"`
	}{seq})
}

func (s *Server) take(w http.ResponseWriter, r *http.Request) (uint64, *refusal) {
	stream := r.PathValue("stream")
	if !validStream(stream) {
		return 0, &refusal{status: http.StatusBadRequest, Err: fmt.Sprintf("%.80q is no name of a stream", stream),
			Hint: "use 1 to 64 of a-z A-Z 0-9 - _ ."}
	}
	if no := checkType(r.Header); no != nil {
		return 0, no
	}
	body, no := s.read(w, r)
	if no != nil {
		return 0, no
	}
	seq, err := s.append(r.Context(), stream, body)
	if err != nil {
		return 0, spoolRefusal(err)
	}
	return seq, nil
}

// append stores a reading that is here, also when its sender has hung up meanwhile: it may never come again.
func (s *Server) append(ctx context.Context, stream string, body []byte) (uint64, error) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), appendTimeout)
	defer stop()
	return s.Spool.Append(ctx, stream, body)
}

func checkType(h http.Header) *refusal {
	kind, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	charset, set := params["charset"]
	if err == nil && kind == "application/json" && (!set || strings.EqualFold(charset, "utf-8")) && h.Get("Content-Encoding") == "" {
		return nil
	}
	return &refusal{status: http.StatusUnsupportedMediaType, Err: "the reading is not announced as plain JSON in UTF-8",
		Hint: "send Content-Type: application/json, and no Content-Encoding"}
}

// read returns the body when it is one JSON value of legal size.
func (s *Server) read(w http.ResponseWriter, r *http.Request) ([]byte, *refusal) {
	most := s.MaxBody
	if most == 0 {
		most = spool.MaxBody
	}
	if r.ContentLength > most {
		w.Header().Set("Connection", "close") // rather than reading to the end what nobody wants
		return nil, tooLarge(most)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, tooLarge(most)
	}
	if err != nil {
		return nil, &refusal{status: http.StatusRequestTimeout, Err: "the reading did not arrive whole", Hint: "send it at once, when all of it is ready"}
	}
	if !json.Valid(body) {
		return nil, &refusal{status: http.StatusBadRequest, Err: whyInvalid(body), Hint: "send one JSON value"}
	}
	return body, nil
}

func tooLarge(most int64) *refusal {
	return &refusal{status: http.StatusRequestEntityTooLarge, Err: fmt.Sprintf("a reading has at most %d bytes", most), Hint: "send it in parts"}
}

func whyInvalid(body []byte) string {
	var v any
	err := json.Unmarshal(body, &v)
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Sprintf("the reading is not JSON: byte %d: %v", e.Offset, e)
	}
	return "the reading is not JSON"
}

// spoolRefusal says why a reading is not on the medium: no space is 507, all else will pass or is for a person.
func spoolRefusal(err error) *refusal {
	no := &refusal{status: http.StatusServiceUnavailable, Err: err.Error(), Hint: fault.Hint(err), cause: err,
		after: max(5*time.Second, fault.RetryAfter(err))}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		no.status = http.StatusInsufficientStorage
	case fault.Of(err) == fault.Permanent:
		no.status, no.after = http.StatusUnprocessableEntity, 0
	}
	return no
}

func refuse(w http.ResponseWriter, no *refusal) {
	if no.after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(no.after.Seconds()))))
	}
	answer(w, no.status, no)
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // whoever hung up has lost the answer, not the reading
}

func validStream(s string) bool {
	if len(s) == 0 || len(s) > 64 {
		return false
	}
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.' {
			return false
		}
	}
	return true
}

// account counts a reading and tells of a change; a client's own mistakes are told to the client alone.
func (s *Server) account(no *refusal) {
	if no != nil {
		s.refused.Add(1)
		if no.cause != nil && !s.refusing.Swap(true) {
			s.Log.Error("readings are refused: the spool does not take them", "err", no.cause, "hint", no.Hint)
		}
		return
	}
	s.taken.Add(1)
	if s.refusing.Swap(false) {
		s.Log.Info("the spool takes readings again")
	}
}
