package otlp

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

var roomy = Bounds{One: 1 << 10, All: 1 << 20}

// request is a request in JSON with these metrics of a press.
func request(metrics string) []byte {
	return fmt.Appendf(nil, `{"resourceMetrics":[{"resource":{"attributes":[
		{"key":"service.name","value":{"stringValue":"press"}},{"key":"telemetry.sdk.name","value":{"stringValue":"opentelemetry"}}]},
		"scopeMetrics":[{"scope":{"name":"hydraulics","version":"2"},"metrics":[%s]}]}]}`, metrics)
}

// read is what becomes of a request in JSON.
func read(t *testing.T, request []byte, bounds Bounds) Points {
	t.Helper()
	binary, err := FromJSON(request)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Read(binary, bounds)
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range p.Bodies {
		if !json.Valid(body) {
			t.Errorf("not JSON: %s", body)
		}
	}
	return p
}

const press = `,"scope":{"name":"hydraulics","version":"2"},"resource":{"service.name":"press"}}`

func TestEachKindOfMetricIsAReadingAPoint(t *testing.T) {
	for name, test := range map[string]struct{ metric, want string }{
		"gauge": {
			`{"name":"oil.temperature","unit":"Cel","description":"not kept","gauge":{"dataPoints":[{"timeUnixNano":"1767323045006000001","asDouble":48.5}]}}`,
			`{"metric":"oil.temperature","unit":"Cel","type":"gauge","time":"2026-01-02T03:04:05.006000001Z","value":48.5`,
		},
		"sum": {
			`{"name":"strokes","sum":{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[{"startTimeUnixNano":"1767323045000000000",
			  "timeUnixNano":1767323046000000000,"asInt":"9007199254740993","attributes":[{"key":"line","value":{"intValue":"7"}}]}]}}`,
			`{"metric":"strokes","type":"sum","temporality":"cumulative","monotonic":true,"start":"2026-01-02T03:04:05Z","time":"2026-01-02T03:04:06Z",` +
				`"value":9007199254740993,"attributes":{"line":7}`,
		},
		"delta": {
			`{"name":"waste","sum":{"aggregationTemporality":1,"dataPoints":[{"asInt":"-3"}]}}`,
			`{"metric":"waste","type":"sum","temporality":"delta","monotonic":false,"value":-3`,
		},
		"histogram": {
			`{"name":"cycle","unit":"s","histogram":{"aggregationTemporality":1,"dataPoints":[{"count":"3","sum":4.5,"min":0.5,"max":3,
			  "bucketCounts":["1","2",0],"explicitBounds":[1,10]}]}}`,
			`{"metric":"cycle","unit":"s","type":"histogram","temporality":"delta","count":3,"sum":4.5,"min":0.5,"max":3,"explicitBounds":[1,10],"bucketCounts":[1,2,0]`,
		},
		"exponential histogram": {
			`{"name":"force","exponentialHistogram":{"aggregationTemporality":2,"dataPoints":[{"count":"6","sum":1e3,"scale":-2,"zeroCount":"1","zeroThreshold":0.25,
			  "positive":{"offset":-4,"bucketCounts":["2","3"]},"negative":{"bucketCounts":[]}}]}}`,
			`{"metric":"force","type":"exponentialHistogram","temporality":"cumulative","count":6,"sum":1000,"scale":-2,"zeroCount":1,"zeroThreshold":0.25,` +
				`"positive":{"offset":-4,"bucketCounts":[2,3]}`,
		},
		"summary": {
			`{"name":"wait","summary":{"dataPoints":[{"count":"2","sum":3,"quantileValues":[{"quantile":0.5,"value":1},{"quantile":1,"value":2}]}]}}`,
			`{"metric":"wait","type":"summary","count":2,"sum":3,"quantileValues":[{"quantile":0.5,"value":1},{"quantile":1,"value":2}]`,
		},
		"no value recorded": {
			`{"name":"oil.temperature","gauge":{"dataPoints":[{"timeUnixNano":"1767323045000000000","asDouble":7,"flags":1}]}}`,
			`{"metric":"oil.temperature","type":"gauge","time":"2026-01-02T03:04:05Z","noRecordedValue":true`,
		},
		"not a number": {
			`{"name":"x","gauge":{"dataPoints":[{"asDouble":"NaN"}]}}`, `{"metric":"x","type":"gauge","value":"NaN"`,
		},
		"infinite": {
			`{"name":"x","gauge":{"dataPoints":[{"asDouble":"-Infinity"}]}}`, `{"metric":"x","type":"gauge","value":"-Infinity"`,
		},
		"attributes": {
			`{"name":"x","gauge":{"dataPoints":[{"asInt":0,"attributes":[{"key":"a\"b","value":{"stringValue":"\u00fc\n"}},{"key":"b","value":{"boolValue":true}},
			  {"key":"d","value":{"doubleValue":0.5}},{"key":"y","value":{"bytesValue":"-_8="}},{"key":"n","value":null},{"key":"e","value":{}},
			  {"key":"l","value":{"arrayValue":{"values":[{"intValue":1},{"arrayValue":{}}]}}},
			  {"key":"m","value":{"kvlistValue":{"values":[{"key":"k","value":{"intValue":"-2"}}]}}}]}]}}`,
			`{"metric":"x","type":"gauge","value":0,"attributes":{"a\"b":"ü\n","b":true,"d":0.5,"y":"+/8=","n":null,"e":null,"l":[1,[]],"m":{"k":-2}}`,
		},
		"of a later version": {
			`{"name":"x","novel":{"dataPoints":[{}]},"gauge":{"extra":[1,{"a":[]}],"dataPoints":[{"asInt":1,"exemplars":[{"spanId":"00"}]}]}}`,
			`{"metric":"x","type":"gauge","value":1`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := read(t, request(test.metric), roomy)
			if len(p.Bodies) != 1 || p.Refused > 0 || string(p.Bodies[0]) != test.want+press {
				t.Errorf("%d refused (%s), readings\n%s, want\n%s", p.Refused, p.Why, p.Bodies, test.want+press)
			}
		})
	}
}

func TestPointsThatCanBeNoReadingAreRefusedAndTheOthersAreNot(t *testing.T) {
	p := read(t, request(`{"name":"","gauge":{"dataPoints":[{"asInt":1},{"asInt":2}]}}, {"name":"empty","gauge":{"dataPoints":[{}]}},
		{"name":"long","gauge":{"dataPoints":[{"asInt":3,"attributes":[{"key":"k","value":{"stringValue":"`+strings.Repeat("v", 1<<10)+`"}}]}]}},
		{"name":"good","gauge":{"dataPoints":[{"asInt":4}]}}`), roomy)
	if p.Refused != 4 || len(p.Bodies) != 1 || !strings.Contains(string(p.Bodies[0]), "good") || p.Why != `a data point of "": its metric has no name` {
		t.Errorf("%d refused (%s), kept %s", p.Refused, p.Why, p.Bodies)
	}
}

func TestEmptyRequestHasNoPoints(t *testing.T) {
	for _, text := range []string{`{}`, `{"resourceMetrics":[]}`, `{"resourceMetrics":null}`, `{"resourceMetrics":[{"scopeMetrics":[{}]}]}`} {
		if p := read(t, []byte(text), roomy); len(p.Bodies) > 0 || p.Refused > 0 {
			t.Errorf("%s: %+v", text, p)
		}
	}
}

// What many points share is in the request once, and in each reading.
func TestReadingsOfARequestAreBounded(t *testing.T) {
	points := strings.Repeat(`{"asInt":1},`, 1000) + `{"asInt":1}`
	long, err := FromJSON(request(`{"name":"` + strings.Repeat("n", 900) + `","gauge":{"dataPoints":[` + points + `]}}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Read(long, roomy); err != nil {
		t.Errorf("%d bytes: %v", len(long), err)
	}
	if p, err := Read(long, Bounds{One: 1 << 10, All: 900_000}); !errors.Is(err, ErrTooMuch) || p.Bodies != nil {
		t.Errorf("%d readings of %d bytes: %v", len(p.Bodies), len(long), err)
	}
}

func TestWhatIsNoRequestIsRefusedInWords(t *testing.T) {
	for name, text := range map[string]string{
		"not JSON":          `{"resourceMetrics":[}`,
		"more than JSON":    `{} {}`,
		"no object":         `[]`,
		"no UTF-8":          "{\"a\":\"\xff\"}",
		"no array":          `{"resourceMetrics":{}}`,
		"no number":         string(request(`{"name":"x","gauge":{"dataPoints":[{"asInt":"one"}]}}`)),
		"a broken number":   string(request(`{"name":"x","gauge":{"dataPoints":[{"asInt":1.5}]}}`)),
		"no text":           string(request(`{"name":1}`)),
		"a name of an enum": string(request(`{"name":"x","sum":{"aggregationTemporality":"CUMULATIVE"}}`)),
		"no message":        string(request(`"x"`)),
		"too deep":          string(request(`{"name":"x","gauge":{"dataPoints":[{"attributes":[{"key":"k","value":` + nested(maxLevels) + `}]}]}}`)),
	} {
		if b, err := FromJSON([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), "read the metrics: ") {
			t.Errorf("%s: %x, %v", name, b, err)
		}
	}
	for name, b := range map[string]string{
		"cut in a tag":        "\x80",
		"cut in a length":     "\x0a\x80",
		"cut in a message":    "\x0a\x05\x12",
		"field 0":             "\x02\x00",
		"a number that large": "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
		"a group":             "\x0b\x0c",
		"a number of 8 bytes": "\x19\x01",
		"another form":        "\x08\x01",
		"a name not in UTF-8": "\x0a\x07\x12\x05\x12\x03\x0a\x01\xff",
	} {
		if p, err := Read([]byte(b), roomy); err == nil || !strings.HasPrefix(err.Error(), "read the metrics: ") {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}

func nested(depth int) string {
	return strings.Repeat(`{"arrayValue":{"values":[`, depth) + strings.Repeat(`]}}`, depth)
}

func TestAttributesLieAtMostSoDeep(t *testing.T) {
	for depth, fits := range map[int]bool{maxDepth: true, maxDepth + 1: false} {
		b, err := FromJSON(request(`{"name":"x","gauge":{"dataPoints":[{"asInt":1,"attributes":[{"key":"k","value":` + nested(depth) + `}]}]}}`))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Read(b, roomy); (err == nil) != fits {
			t.Errorf("%d levels: %v", depth, err)
		}
	}
}

// Packed or not is for the sender to choose.
func TestNumbersThatAreNotPackedAreTheSame(t *testing.T) {
	point := slices.Concat(appendBytes(nil, 6, "\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00"), []byte("\x31\x03\x00\x00\x00\x00\x00\x00\x00"))
	histogram := appendBytes(appendBytes(nil, 1, "h"), 9, appendBytes(nil, 1, point))
	p, err := Read(appendBytes(nil, 1, appendBytes(nil, 2, appendBytes(nil, 2, histogram))), roomy)
	if want := `{"metric":"h","type":"histogram","count":0,"bucketCounts":[1,2,3]}`; err != nil || len(p.Bodies) != 1 || string(p.Bodies[0]) != want {
		t.Errorf("%s, %v; want %s", p.Bodies, err, want)
	}
}

func FuzzRead(f *testing.F) {
	for _, metric := range []string{
		`{"name":"a","unit":"1","gauge":{"dataPoints":[{"timeUnixNano":"1","asDouble":1.5,"attributes":[{"key":"k","value":{"arrayValue":{"values":[{"intValue":1}]}}}]}]}}`,
		`{"name":"b","histogram":{"dataPoints":[{"count":"3","bucketCounts":["1","2"],"explicitBounds":[1]}]}}`,
		`{"name":"c","exponentialHistogram":{"dataPoints":[{"count":"3","scale":-1,"positive":{"offset":2,"bucketCounts":["1","2"]}}]}}`,
		`{"name":"d","summary":{"dataPoints":[{"quantileValues":[{"quantile":1,"value":2}]}]}}`,
	} {
		b, err := FromJSON(request(metric))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, request []byte) {
		p, err := Read(request, roomy)
		if err != nil && (p.Bodies != nil || p.Refused > 0) {
			t.Errorf("%+v beside %v", p, err)
		}
		size := 0
		for _, body := range p.Bodies {
			if !json.Valid(body) || len(body) > roomy.One {
				t.Errorf("no reading: %q", body)
			}
			size += len(body)
		}
		if size > roomy.All {
			t.Errorf("%d bytes", size)
		}
	})
}

func FuzzFromJSON(f *testing.F) {
	f.Add(request(`{"name":"a","gauge":{"dataPoints":[{"asInt":"1","attributes":[{"key":"k","value":{"bytesValue":"AA=="}}]}]}}`))
	f.Add(request(`{"name":"b","exponentialHistogram":{"dataPoints":[{"count":3,"scale":-1,"positive":{"offset":2,"bucketCounts":[1,"2"]}}]}}`))
	f.Add([]byte(`{"x":[[]],"resourceMetrics":[null,{}]}`))
	f.Fuzz(func(t *testing.T, request []byte) {
		b, err := FromJSON(request)
		if err != nil {
			return
		}
		if len(b) > 8*len(request) {
			t.Errorf("%d bytes become %d", len(request), len(b))
		}
		if _, err := Read(b, roomy); errors.Is(err, errForm) || errors.Is(err, errShort) || errors.Is(err, errText) {
			t.Errorf("%q becomes %x, which is no request: %v", request, b, err)
		}
	})
}
