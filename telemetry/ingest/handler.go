package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

const (
	prefix   = "/v1/telemetry/"
	theRoute = "POST " + prefix + "{stream}"

	severalBatches = "send it in several batches"
)

// refusal is an answer that is not yes: what is wrong, and what to do about it.
type refusal struct {
	status int
	Err    string        `json:"error"`
	Hint   string        `json:"hint,omitempty"`
	after  time.Duration // when to come again
}

// one and many are the answers that promise.
type one struct {
	Seq uint64 `json:"seq"`
}

type many struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+prefix+"{stream}", s.telemetry)
	mux.HandleFunc("GET /v1/health", s.health)
	mux.HandleFunc(prefix+"{stream}", wrongMethod("POST"))
	mux.HandleFunc("/v1/health", wrongMethod("GET, HEAD"))
	for _, path := range []string{"/v1/metrics", "/v1/metrics/{stream}"} {
		mux.HandleFunc("POST "+path, s.metrics)
		mux.HandleFunc(path, wrongMethod("POST"))
	}
	if s.Cloud != nil {
		mux.Handle("/v1/methods/", s.Cloud)
		mux.Handle("/v1/messages/", s.Cloud)
	}
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

// telemetry promises readings: 200 is said only after they are on the medium, and 202 where the stream's durability is
// a time within which they will be (RFC 9110, section 15.3.3: accepted, and not yet completed).
func (s *Server) telemetry(w http.ResponseWriter, r *http.Request) {
	stream, status := r.PathValue("stream"), http.StatusOK
	kind, no := "", s.admit(r, stream)
	if no == nil {
		kind, no = mediaType(r.Header)
	}
	if no != nil {
		s.gate.refused.Add(1)
		refuse(w, no)
		return
	}
	first, n, no := s.take(w, r, stream, kind)
	if no != nil {
		s.gate.refused.Add(uint64(max(n, 1)))
		refuse(w, no)
		return
	}
	s.gate.taken.Add(uint64(n))
	if s.soon(stream) {
		status = http.StatusAccepted
	}
	if isBatch(kind) {
		answer(w, status, many{first, first + uint64(n) - 1})
		return
	}
	answer(w, status, one{first})
}

// admit says whether the client may send readings of stream now.
func (s *Server) admit(r *http.Request, stream string) *refusal {
	if !spool.ValidStream(stream) {
		return &refusal{status: http.StatusBadRequest, Err: fmt.Sprintf("%.80q is no name of a stream", stream),
			Hint: "use 1 to 64 of a-z A-Z 0-9 - _ ."}
	}
	p := peerOfRequest(r)
	if !allowed(s.rules().grants, p, stream) {
		return &refusal{status: http.StatusForbidden, Err: fmt.Sprintf("%v may not write the stream %s", p, stream),
			Hint: "have it named under telemetry.ingest.permissions"}
	}
	if wait := s.gate.quotas.wait(p.client()); wait > 0 {
		return &refusal{status: http.StatusTooManyRequests, Err: fmt.Sprintf("%v has sent what telemetry.ingest.quota allows in a minute", p),
			Hint: "come again later, or send more readings in one batch", after: wait}
	}
	return nil
}

// take stores the n readings of the body, all or none.
func (s *Server) take(w http.ResponseWriter, r *http.Request, stream, kind string) (first uint64, n int, no *refusal) {
	most := s.most(kind)
	if r.ContentLength > most {
		w.Header().Set("Connection", "close") // rather than reading to the end what nobody wants
		return 0, 0, tooLarge(most, kind)
	}
	size := most
	if r.ContentLength >= 0 {
		size = r.ContentLength
	}
	done, no := s.hold(w, r, size)
	if no != nil {
		return 0, 0, no
	}
	defer done()
	body, no := read(w, r, most, kind)
	if no != nil {
		return 0, 0, no
	}
	all, err := readings(stream, kind, body)
	if errors.Is(err, errMany) {
		return 0, 0, &refusal{status: http.StatusRequestEntityTooLarge, Err: err.Error(), Hint: severalBatches}
	}
	if err != nil {
		return 0, 0, &refusal{status: http.StatusBadRequest, Err: err.Error(), Hint: hintFor(kind)}
	}
	first, no = s.store(r, all, len(body))
	return first, len(all), no
}

// store stores the readings of a request, which has this size, all or none.
func (s *Server) store(r *http.Request, all []spool.Reading, size int) (first uint64, no *refusal) {
	p := peerOfRequest(r)
	s.gate.quotas.charge(p.client(), len(all), size)
	first, err := s.put(context.WithoutCancel(r.Context()), all...)
	if err != nil {
		return 0, spoolRefusal(err)
	}
	return first, nil
}

// most is how long a body of this type may be.
func (s *Server) most(kind string) int64 {
	if isBatch(kind) {
		return or(s.MaxBatch, usualBatch)
	}
	return or(s.MaxBody, spool.MaxBody)
}

// hold waits until n bytes more may be in memory, which done gives back. Who waits in vain is told so, and has lost
// nothing.
func (s *Server) hold(w http.ResponseWriter, r *http.Request, n int64) (done func(), no *refusal) {
	ctx, stop := context.WithTimeout(r.Context(), handTimeout)
	defer stop()
	client := peerOfRequest(r).client()
	if s.gate.hand.take(ctx, client, n) == nil {
		return func() { s.gate.hand.give(client, n) }, nil
	}
	w.Header().Set("Connection", "close") // its body was not read
	return nil, &refusal{status: http.StatusServiceUnavailable, Err: "too many readings wait for the medium", Hint: "come again later, with fewer at a time",
		after: handTimeout}
}

func read(w http.ResponseWriter, r *http.Request, most int64, kind string) ([]byte, *refusal) {
	body, err := readAll(http.MaxBytesReader(w, r.Body, most), r.ContentLength)
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, tooLarge(most, kind)
	}
	if err != nil {
		return nil, &refusal{status: http.StatusRequestTimeout, Err: "the reading did not arrive whole", Hint: "send it at once, when all of it is ready"}
	}
	return body, nil
}

// readAll is io.ReadAll where the size is known beforehand: nothing is copied as it grows.
func readAll(r io.Reader, size int64) ([]byte, error) {
	if size < 0 {
		return io.ReadAll(r)
	}
	body := make([]byte, size)
	_, err := io.ReadFull(r, body)
	return body, err
}

func tooLarge(most int64, kind string) *refusal {
	no := &refusal{status: http.StatusRequestEntityTooLarge, Err: fmt.Sprintf("a reading has at most %d bytes", most), Hint: "send it in parts"}
	if isBatch(kind) {
		no.Err, no.Hint = fmt.Sprintf("a batch has at most %d bytes", most), severalBatches
	}
	return no
}

func hintFor(kind string) string {
	switch kind {
	case typeJSON:
		return "send one JSON value, or a batch as " + typeLines
	case typeLines:
		return "send one JSON value a line; nothing of the batch was stored"
	case typeSequence:
		return "send one CBOR item behind the other; nothing of the batch was stored"
	}
	return "send what Content-Type says"
}

// spoolRefusal says why a reading is not on the medium: no space is 507, all else will pass or is for a person.
func spoolRefusal(err error) *refusal {
	no := &refusal{status: http.StatusServiceUnavailable, Err: err.Error(), Hint: fault.Hint(err),
		after: max(5*time.Second, fault.RetryAfter(err))}
	switch {
	case full(err), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		no.status = http.StatusInsufficientStorage
	case fault.Of(err) == fault.Permanent:
		no.status, no.after = http.StatusUnprocessableEntity, 0
	}
	return no
}

func refuse(w http.ResponseWriter, no *refusal) {
	comeAgain(w, no.after)
	answer(w, no.status, no)
}

// comeAgain says when, unless that is 0.
func comeAgain(w http.ResponseWriter, after time.Duration) {
	if after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(after.Seconds()))))
	}
}

func answer(w http.ResponseWriter, status int, body any) {
	text, _ := json.Marshal(body) // what is said here always goes
	send(w, status, typeJSON, append(text, '\n'))
}

// send is the answer. Whoever hung up has lost it, not the reading.
func send(w http.ResponseWriter, status int, kind string, body []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// peerKey finds the peer in the context of a request.
type peerKey struct{}

func peerOfRequest(r *http.Request) peer {
	p, _ := r.Context().Value(peerKey{}).(peer)
	return p
}

func knowPeer(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, peerOf(c))
}
