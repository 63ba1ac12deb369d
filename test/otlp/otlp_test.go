package otlp

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	api "go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/telemetry/ingest"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// instruments is a program with one of each.
func instruments(t *testing.T) *metric.ManualReader {
	t.Helper()
	reader := metric.NewManualReader()
	exponential := metric.NewView(metric.Instrument{Name: "press.force"}, metric.Stream{Aggregation: metric.AggregationBase2ExponentialHistogram{MaxSize: 20, MaxScale: 3}})
	provider := metric.NewMeterProvider(metric.WithReader(reader), metric.WithView(exponential),
		metric.WithResource(resource.NewSchemaless(attribute.String("service.name", "press"), attribute.String("telemetry.sdk.name", "opentelemetry"))))
	meter := provider.Meter("hydraulics", api.WithInstrumentationVersion("2.1"), api.WithInstrumentationAttributes(attribute.Int("side", 2)))
	strokes, _ := meter.Int64Counter("press.strokes", api.WithUnit("{stroke}"), api.WithDescription("not kept"))
	open, _ := meter.Int64UpDownCounter("press.open")
	oil, _ := meter.Float64Gauge("press.oil", api.WithUnit("Cel"))
	cycle, _ := meter.Float64Histogram("press.cycle", api.WithUnit("s"), api.WithExplicitBucketBoundaries(1, 2.5))
	force, _ := meter.Float64Histogram("press.force", api.WithUnit("kN"))
	ctx := t.Context()
	strokes.Add(ctx, 1<<53+1, api.WithAttributes(attribute.String("line", "7"), attribute.Bool("night", true), attribute.Float64Slice("at", []float64{0.5, 1})))
	open.Add(ctx, -3)
	oil.Record(ctx, 48.25)
	for _, v := range []float64{0.5, 2, 2, 99} {
		cycle.Record(ctx, v)
		force.Record(ctx, v)
	}
	return reader
}

func TestEachValueOfEachInstrumentArrives(t *testing.T) {
	w := open(t, &ingest.Server{}, nil)
	now := w.collect(instruments(t))
	if err := w.exporter().Export(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	all := w.found()
	if len(all) != 5 {
		t.Fatalf("%d readings: %v", len(all), all)
	}
	about := func(i int, more map[string]any) map[string]any {
		more["metric"] = now.ScopeMetrics[0].Metrics[i].Name
		more["scope"] = map[string]any{"name": "hydraulics", "version": "2.1", "attributes": map[string]any{"side": 2}}
		more["resource"] = map[string]any{"service.name": "press"}
		return more
	}
	times := func(start, at time.Time, more map[string]any) map[string]any {
		more["start"], more["time"] = start.UTC().Format(time.RFC3339Nano), at.UTC().Format(time.RFC3339Nano)
		return more
	}
	for i, m := range now.ScopeMetrics[0].Metrics {
		switch data := m.Data.(type) {
		case metricdata.Sum[int64]:
			p := data.DataPoints[0]
			want := times(p.StartTime, p.Time, map[string]any{"type": "sum", "temporality": "cumulative", "monotonic": data.IsMonotonic, "value": p.Value})
			if m.Name == "press.strokes" {
				want["unit"], want["attributes"] = "{stroke}", map[string]any{"line": "7", "night": true, "at": []float64{0.5, 1}}
			}
			w.like(all[i], about(i, want))
		case metricdata.Gauge[float64]:
			p := data.DataPoints[0]
			w.like(all[i], about(i, times(p.StartTime, p.Time, map[string]any{"type": "gauge", "unit": "Cel", "value": 48.25})))
		case metricdata.Histogram[float64]:
			p := data.DataPoints[0]
			w.like(all[i], about(i, times(p.StartTime, p.Time, map[string]any{"type": "histogram", "unit": "s", "temporality": "cumulative", "count": 4, "sum": 103.5,
				"min": 0.5, "max": 99, "explicitBounds": []float64{1, 2.5}, "bucketCounts": []int{1, 2, 1}})))
		case metricdata.ExponentialHistogram[float64]:
			p := data.DataPoints[0]
			positive := map[string]any{"bucketCounts": p.PositiveBucket.Counts}
			if p.PositiveBucket.Offset != 0 {
				positive["offset"] = p.PositiveBucket.Offset
			}
			w.like(all[i], about(i, times(p.StartTime, p.Time, map[string]any{"type": "exponentialHistogram", "unit": "kN", "temporality": "cumulative", "count": 4,
				"sum": 103.5, "min": 0.5, "max": 99, "scale": p.Scale, "positive": positive})))
		default:
			t.Errorf("%T", data)
		}
	}
}

// gauge is n points of their own.
func gauge(name string, from, n int) *metricdata.ResourceMetrics {
	points := make([]metricdata.DataPoint[int64], n)
	for i := range points {
		points[i].Value = int64(from + i)
	}
	return &metricdata.ResourceMetrics{ScopeMetrics: []metricdata.ScopeMetrics{{Metrics: []metricdata.Metrics{{Name: name, Data: metricdata.Gauge[int64]{DataPoints: points}}}}}}
}

// once checks that the points from 0 to n-1 are there, in order, and no other.
func (w *world) once(n int) {
	w.Helper()
	var got []int
	for _, r := range w.found() {
		got = append(got, int(r.body["value"].(float64)))
	}
	if len(got) != n || !slices.IsSorted(got) || len(slices.Compact(got)) != n {
		w.Errorf("found %v, want 0 to %d", got, n-1)
	}
}

func TestExporterBeyondItsQuotaComesAgainAndNothingIsLostOrDoubled(t *testing.T) {
	w := open(t, &ingest.Server{Quota: ingest.Quota{Readings: 60}}, nil)
	e := w.exporter()
	for _, part := range [][2]int{{0, 60}, {60, 5}} { // a reading a second comes back
		if err := e.Export(t.Context(), gauge("x", part[0], part[1])); err != nil {
			t.Fatal(err)
		}
	}
	answers, asked := w.said()
	if !slices.Equal(answers, []int{200, 429, 200}) || asked[1] == "" {
		t.Errorf("answered %v, come again after %v", answers, asked)
	}
	w.once(65)
}

// reluctant is a spool that takes nothing, a few times.
type reluctant struct {
	ingest.Spool
	mu  sync.Mutex
	no  int
	err error
}

func (r *reluctant) Put(ctx context.Context, readings ...spool.Reading) (uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.no > 0 {
		r.no--
		return 0, r.err
	}
	return r.Spool.Put(ctx, readings...)
}

func TestExporterOutlastsAFullSpool(t *testing.T) {
	w := open(t, &ingest.Server{}, func(s ingest.Spool) ingest.Spool {
		return &reluctant{Spool: s, no: 1, err: fault.Later(spool.ErrFull, time.Second)}
	})
	if err := w.exporter().Export(t.Context(), gauge("x", 0, 3)); err != nil {
		t.Fatal(err)
	}
	if answers, asked := w.said(); !slices.Equal(answers, []int{503, 200}) || asked[0] != "5" {
		t.Errorf("answered %v, come again after %v", answers, asked)
	}
	w.once(3)
}

func TestExporterIsToldWhatIsRefusedForGood(t *testing.T) {
	w := open(t, &ingest.Server{MaxBatch: 4096}, nil)
	e := w.exporter()
	err := e.Export(t.Context(), gauge("", 0, 2))
	if err == nil || !strings.Contains(err.Error(), "its metric has no name") || !strings.Contains(err.Error(), "2") {
		t.Errorf("partial success: %v", err)
	}
	if err := e.Export(t.Context(), gauge("x", 0, 1000)); err == nil || !strings.Contains(err.Error(), "413") || !strings.Contains(err.Error(), "max_batch") {
		t.Errorf("too large: %v", err)
	}
	if err := w.exporter(otlpmetrichttp.WithURLPath("/v1/metrics/a b")).Export(t.Context(), gauge("x", 0, 1)); err == nil || !strings.Contains(err.Error(), "400") {
		t.Errorf("bad stream: %v", err)
	}
	if answers, _ := w.said(); fmt.Sprint(answers) != "[200 413 400]" {
		t.Errorf("answered %v: it came again", answers)
	}
	w.once(0)
}
