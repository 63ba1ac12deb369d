package otlp

import (
	"bytes"
	"encoding/json"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/devid-agent/devid-agent/telemetry/ingest/otlp"
)

// untold are the fields that no reading tells, so that JSON with them is read without.
var untold = map[protoreflect.Name]bool{
	"exemplars": true, "description": true, "metadata": true, "schema_url": true, "dropped_attributes_count": true, "entity_refs": true,
	"key_strindex": true, "string_value_strindex": true,
}

func strip(m protoreflect.Message) {
	m.SetUnknown(nil)
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case untold[f.Name()]:
			m.Clear(f)
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				strip(v.List().Get(i).Message())
			}
		case !f.IsList() && f.Message() != nil:
			strip(v.Message())
		}
		return true
	})
}

func text(s string) *common.AnyValue {
	return &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: s}}
}

// everything is a request with each field that a reading tells.
func everything() *collector.ExportMetricsServiceRequest {
	half, many := 0.5, 1e300
	attributes := []*common.KeyValue{
		{Key: "text", Value: text("ü")}, {Key: "none", Value: &common.AnyValue{}}, {Key: "no", Value: &common.AnyValue{Value: &common.AnyValue_BoolValue{}}},
		{Key: "n", Value: &common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: -1 << 62}}},
		{Key: "bytes", Value: &common.AnyValue{Value: &common.AnyValue_BytesValue{BytesValue: []byte{0, 255, 254}}}},
		{Key: "list", Value: &common.AnyValue{Value: &common.AnyValue_ArrayValue{ArrayValue: &common.ArrayValue{Values: []*common.AnyValue{text("a"), {}}}}}},
		{Key: "map", Value: &common.AnyValue{Value: &common.AnyValue_KvlistValue{KvlistValue: &common.KeyValueList{Values: []*common.KeyValue{{Key: "k", Value: text("v")}}}}}},
	}
	number := []*metrics.NumberDataPoint{
		{Attributes: attributes, StartTimeUnixNano: 1, TimeUnixNano: 1 << 63, Value: &metrics.NumberDataPoint_AsInt{AsInt: -7}},
		{Value: &metrics.NumberDataPoint_AsDouble{AsDouble: many}}, {Flags: 1},
	}
	return &collector.ExportMetricsServiceRequest{ResourceMetrics: []*metrics.ResourceMetrics{{ScopeMetrics: []*metrics.ScopeMetrics{{
		Scope: &common.InstrumentationScope{Name: "scope", Version: "1", Attributes: attributes[:1]},
		Metrics: []*metrics.Metric{
			{Name: "g", Unit: "1", Data: &metrics.Metric_Gauge{Gauge: &metrics.Gauge{DataPoints: number}}},
			{Name: "s", Data: &metrics.Metric_Sum{Sum: &metrics.Sum{DataPoints: number, IsMonotonic: true, AggregationTemporality: 2}}},
			{Name: "h", Data: &metrics.Metric_Histogram{Histogram: &metrics.Histogram{AggregationTemporality: 1, DataPoints: []*metrics.HistogramDataPoint{
				{Attributes: attributes[:1], StartTimeUnixNano: 1, TimeUnixNano: 2, Count: 3, Sum: &half, Min: &half, Max: &many, BucketCounts: []uint64{1, 2}, ExplicitBounds: []float64{0.25}},
			}}}},
			{Name: "e", Data: &metrics.Metric_ExponentialHistogram{ExponentialHistogram: &metrics.ExponentialHistogram{DataPoints: []*metrics.ExponentialHistogramDataPoint{
				{Attributes: attributes[:1], TimeUnixNano: 2, Count: 3, Sum: &half, Scale: -3, ZeroCount: 1, ZeroThreshold: 0.125, Min: &half, Max: &many,
					Positive: &metrics.ExponentialHistogramDataPoint_Buckets{Offset: -9, BucketCounts: []uint64{1, 300}}, Negative: &metrics.ExponentialHistogramDataPoint_Buckets{Offset: 9}},
			}}}},
			{Name: "q", Data: &metrics.Metric_Summary{Summary: &metrics.Summary{DataPoints: []*metrics.SummaryDataPoint{
				{Attributes: attributes[:1], TimeUnixNano: 2, Count: 3, Sum: 4, QuantileValues: []*metrics.SummaryDataPoint_ValueAtQuantile{{Quantile: 0.5, Value: 1}, {}}},
			}}}},
		},
	}}}}}
}

// pointsOf counts as the definitions do, and without those that have no value of any kind.
func pointsOf(q *collector.ExportMetricsServiceRequest) (all, named int) {
	for _, r := range q.ResourceMetrics {
		for _, s := range r.ScopeMetrics {
			for _, m := range s.Metrics {
				n := 0
				for _, p := range append(m.GetGauge().GetDataPoints(), m.GetSum().GetDataPoints()...) {
					n++
					if p.Value != nil || p.Flags&1 != 0 {
						named++
					}
				}
				rest := len(m.GetHistogram().GetDataPoints()) + len(m.GetExponentialHistogram().GetDataPoints()) + len(m.GetSummary().GetDataPoints())
				if all, named = all+n+rest, named+rest; m.Name == "" {
					named -= n + rest
				}
			}
		}
	}
	return all, named
}

func TestJSONIsTheMessageThatOpenTelemetryMeans(t *testing.T) {
	sameInJSON(t, everything())
}

func sameInJSON(t *testing.T, q *collector.ExportMetricsServiceRequest) {
	t.Helper()
	inJSON, err := protojson.MarshalOptions{UseEnumNumbers: true, EmitUnpopulated: true}.Marshal(q)
	if err != nil {
		return // a value that JSON of Protocol Buffers has no form for
	}
	b, err := otlp.FromJSON(inJSON)
	if err != nil {
		t.Fatalf("%s: %v", inJSON, err)
	}
	var got collector.ExportMetricsServiceRequest
	if err := proto.Unmarshal(b, &got); err != nil {
		t.Fatalf("%s: %v", inJSON, err)
	}
	strip(q.ProtoReflect())
	if !proto.Equal(&got, q) {
		t.Errorf("%s\nis %v, want %v", inJSON, &got, q)
	}
}

func TestEachPointOfEachKindIsAReading(t *testing.T) {
	b, err := proto.Marshal(everything())
	if err != nil {
		t.Fatal(err)
	}
	p, err := otlp.Read(b, otlp.Bounds{One: 1 << 10, All: 1 << 20})
	if err != nil || p.Refused > 0 || len(p.Bodies) != 9 {
		t.Fatalf("%d readings, %d refused: %s, %v", len(p.Bodies), p.Refused, p.Why, err)
	}
	const want = `{"metric":"g","unit":"1","type":"gauge","start":"1970-01-01T00:00:00.000000001Z","time":"2262-04-11T23:47:16.854775808Z","value":-7,` +
		`"attributes":{"text":"ü","none":null,"no":false,"n":-4611686018427387904,"bytes":"AP/+","list":["a",null],"map":{"k":"v"}},` +
		`"scope":{"name":"scope","version":"1","attributes":{"text":"ü"}}}`
	if !bytes.Equal(p.Bodies[0], []byte(want)) {
		t.Errorf("%s, want\n%s", p.Bodies[0], want)
	}
}

func TestAnswersAreTheMessagesThatOpenTelemetryMeans(t *testing.T) {
	want := &collector.ExportMetricsServiceResponse{PartialSuccess: &collector.ExportMetricsPartialSuccess{RejectedDataPoints: 300, ErrorMessage: `a "why"`}}
	no := &status.Status{Message: `a "why"`}
	for _, test := range []struct {
		binary, inJSON []byte
		want, got      proto.Message
	}{
		{otlp.Success(false, 0, ""), otlp.Success(true, 0, ""), &collector.ExportMetricsServiceResponse{}, &collector.ExportMetricsServiceResponse{}},
		{otlp.Success(false, 300, `a "why"`), otlp.Success(true, 300, `a "why"`), want, &collector.ExportMetricsServiceResponse{}},
		{otlp.Status(false, `a "why"`), otlp.Status(true, `a "why"`), no, &status.Status{}},
	} {
		if err := proto.Unmarshal(test.binary, test.got); err != nil || !proto.Equal(test.got, test.want) {
			t.Errorf("%x is %v (%v), want %v", test.binary, test.got, err, test.want)
		}
		if err := protojson.Unmarshal(test.inJSON, test.got); err != nil || !proto.Equal(test.got, test.want) {
			t.Errorf("%s is %v (%v), want %v", test.inJSON, test.got, err, test.want)
		}
	}
}

// What OpenTelemetry's own code can read, ours can, and finds as many points; but a field that is known in a form that is
// not is an error here, and unknown there.
func FuzzMessages(f *testing.F) {
	b, err := proto.Marshal(everything())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, request []byte) {
		var q collector.ExportMetricsServiceRequest
		if proto.Unmarshal(request, &q) != nil {
			return
		}
		strip(q.ProtoReflect())
		clean, err := proto.MarshalOptions{Deterministic: true}.Marshal(&q)
		if err != nil {
			return
		}
		p, err := otlp.Read(clean, otlp.Bounds{One: 1 << 20, All: 1 << 24})
		if err != nil {
			t.Fatalf("%x: %v", clean, err)
		}
		for _, body := range p.Bodies {
			if !json.Valid(body) {
				t.Errorf("%q", body)
			}
		}
		if all, named := pointsOf(&q); len(p.Bodies) != named || len(p.Bodies)+p.Refused != all {
			t.Errorf("%d readings and %d refused, of %d points with %d that can be one: %v", len(p.Bodies), p.Refused, all, named, &q)
		}
		sameInJSON(t, &q)
	})
}
