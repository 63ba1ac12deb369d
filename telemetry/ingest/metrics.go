package ingest

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"

	"github.com/devid-agent/devid-agent/telemetry/ingest/otlp"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

const (
	metricsStream = "metrics" // where the path names none
	typeProtobuf  = "application/x-protobuf"

	fewerMetrics = "export fewer metrics at a time, or raise telemetry.ingest.max_batch"
)

// metrics takes what an exporter of OpenTelemetry sends by OTLP/HTTP (opentelemetry.io/docs/specs/otlp): a reading for each
// data point, all in one commit. 200 is the only yes that OTLP knows, so it is also that of a stream which is on the
// medium some time later.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	stream := r.PathValue("stream")
	if stream == "" {
		stream = metricsStream
	}
	d, no := dialectOf(r.Header)
	if no == nil {
		no = s.admit(r, stream)
	}
	if no != nil {
		s.gate.refused.Add(1)
		d.refuse(w, no)
		return
	}
	points, no := s.takeMetrics(w, r, stream, d)
	if no != nil {
		s.gate.refused.Add(uint64(max(len(points.Bodies), 1)))
		d.refuse(w, no)
		return
	}
	s.gate.taken.Add(uint64(len(points.Bodies)))
	s.gate.refused.Add(uint64(points.Refused))
	send(w, http.StatusOK, d.kind(), otlp.Success(d.inJSON, points.Refused, points.Why))
}

// takeMetrics stores the data points of the request, but for those that can be no reading, all or none.
func (s *Server) takeMetrics(w http.ResponseWriter, r *http.Request, stream string, d dialect) (otlp.Points, *refusal) {
	most := or(s.MaxBatch, usualBatch)
	done, no := s.hold(w, r, 2*most) // the request, unpacked, and the readings
	if no != nil {
		return otlp.Points{}, no
	}
	defer done()
	request, no := d.read(http.MaxBytesReader(w, r.Body, most), most)
	if no != nil {
		return otlp.Points{}, no
	}
	points, err := d.points(request, otlp.Bounds{One: int(or(s.MaxBody, spool.MaxBody)), All: int(most)})
	if errors.Is(err, otlp.ErrTooMuch) {
		return otlp.Points{}, &refusal{status: http.StatusRequestEntityTooLarge, Err: err.Error(), Hint: fewerMetrics}
	}
	if err != nil {
		return otlp.Points{}, &refusal{status: http.StatusBadRequest, Err: err.Error(), Hint: "send an ExportMetricsServiceRequest of OTLP 1"}
	}
	if len(points.Bodies) == 0 {
		return points, nil
	}
	all, bytes := make([]spool.Reading, len(points.Bodies)), 0
	for i, body := range points.Bodies {
		all[i] = spool.Reading{Stream: stream, Body: body}
		bytes += len(body)
	}
	_, no = s.store(r, all, bytes)
	return points, no
}

// dialect is how a request of OTLP/HTTP is written. Its answer is written so, too, but never compressed.
type dialect struct{ inJSON, zipped bool }

// dialectOf is what the headers say. A refusal of what they say is written in JSON.
func dialectOf(h http.Header) (dialect, *refusal) {
	kind, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	charset, set := params["charset"]
	coding := h.Get("Content-Encoding")
	d := dialect{inJSON: kind != typeProtobuf, zipped: coding == "gzip"}
	if err != nil || d.inJSON && kind != typeJSON || set && !strings.EqualFold(charset, "utf-8") || coding != "" && !d.zipped {
		return d, &refusal{status: http.StatusUnsupportedMediaType, Err: "the metrics are not announced as a type that is taken here",
			Hint: "send Content-Type: " + typeProtobuf + " or " + typeJSON + ", and no Content-Encoding or gzip"}
	}
	return d, nil
}

func (d dialect) kind() string {
	if d.inJSON {
		return typeJSON
	}
	return typeProtobuf
}

// read is the request, unpacked. It has at most this many bytes.
func (d dialect) read(body io.Reader, most int64) (request []byte, no *refusal) {
	var err error
	if d.zipped {
		body, err = gzip.NewReader(body)
	}
	if err == nil {
		request, err = io.ReadAll(io.LimitReader(body, most+1))
	}
	_, slow := errors.AsType[net.Error](err)
	_, long := errors.AsType[*http.MaxBytesError](err)
	switch {
	case long || int64(len(request)) > most:
		return nil, &refusal{status: http.StatusRequestEntityTooLarge, Err: fmt.Sprintf("a request has at most %d bytes, also unpacked", most), Hint: fewerMetrics}
	case slow:
		return nil, &refusal{status: http.StatusRequestTimeout, Err: "the metrics did not arrive whole", Hint: "send them at once, when all of them are ready"}
	case err != nil:
		return nil, &refusal{status: http.StatusBadRequest, Err: "read the metrics: " + err.Error(), Hint: "send them whole, and compressed as Content-Encoding says"}
	}
	return request, nil
}

func (d dialect) points(request []byte, bounds otlp.Bounds) (p otlp.Points, err error) {
	if d.inJSON {
		if request, err = otlp.FromJSON(request); err != nil {
			return p, err
		}
	}
	return otlp.Read(request, bounds)
}

// refuse says no as OTLP does. Of what may be taken later, an exporter only knows 429, 502, 503 and 504: after any
// other status it gives up its metrics.
func (d dialect) refuse(w http.ResponseWriter, no *refusal) {
	status := no.status
	if status == http.StatusInsufficientStorage || status == http.StatusRequestTimeout {
		status = http.StatusServiceUnavailable
	}
	comeAgain(w, no.after)
	why := no.Err
	if no.Hint != "" {
		why += ": " + no.Hint
	}
	send(w, status, d.kind(), otlp.Status(d.inJSON, why))
}
