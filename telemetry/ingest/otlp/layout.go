package otlp

// entry is what may stand in a field of a message.
type entry byte

const (
	text   entry = iota
	octets       // bytes, in base64 where it is JSON
	boolean
	integer  // int64
	signed   // sint32
	unsigned // uint64, in 8 bytes always
	counter  // uint64, the shorter the smaller
	wide     // sfixed64
	float
	instant     // fixed64: nanoseconds since 1970, 0 where it is not known
	temporality // AggregationTemporality
	flags       // DataPointFlags
	message     // and what follows: a message of the layout of that name
)

const (
	resourceMetrics = message + 1 + iota
	resource
	scopeMetrics
	scope
	metric
	gauge
	sum
	histogram
	exponential
	summary
	numberPoint
	histogramPoint
	exponentialPoint
	bucketCounts
	summaryPoint
	quantile
	keyValue
	anyValue
	arrayValue
	keyValueList
)

// member is a field of a message: a member of an object in JSON, and of a reading.
type member struct {
	name     string // in OTLP's JSON
	number   uint8  // in Protocol Buffers
	is       entry
	repeated bool   // an array
	as       string // in a reading, where that is another name
	usual    string // in a reading, where the field is not there; "" leaves it out
}

// required stands for what a data point has to have.
const required = "?"

// layouts are the messages with all that a reading tells (opentelemetry-proto, metrics/v1, common/v1, resource/v1). In a
// reading, members stand in this order. Two in a row of the same name are a choice.
var layouts = [...][]member{
	0:                         {{name: "resourceMetrics", number: 1, is: resourceMetrics, repeated: true}}, // the request
	resourceMetrics - message: {{name: "resource", number: 1, is: resource}, {name: "scopeMetrics", number: 2, is: scopeMetrics, repeated: true}},
	resource - message:        {{name: "attributes", number: 1, is: keyValue, repeated: true}},
	scopeMetrics - message:    {{name: "scope", number: 1, is: scope}, {name: "metrics", number: 2, is: metric, repeated: true}},
	scope - message: {
		{name: "name", number: 1, is: text}, {name: "version", number: 2, is: text}, {name: "attributes", number: 3, is: keyValue, repeated: true},
	},
	metric - message: {
		{name: "name", number: 1, is: text}, {name: "unit", number: 3, is: text}, {name: "gauge", number: 5, is: gauge}, {name: "sum", number: 7, is: sum},
		{name: "histogram", number: 9, is: histogram}, {name: "exponentialHistogram", number: 10, is: exponential}, {name: "summary", number: 11, is: summary},
	},
	gauge - message: {{name: "dataPoints", number: 1, is: numberPoint, repeated: true}},
	sum - message: {
		{name: "dataPoints", number: 1, is: numberPoint, repeated: true},
		{name: "aggregationTemporality", number: 2, is: temporality, as: "temporality"}, {name: "isMonotonic", number: 3, is: boolean, as: "monotonic", usual: "false"},
	},
	histogram - message: {
		{name: "dataPoints", number: 1, is: histogramPoint, repeated: true}, {name: "aggregationTemporality", number: 2, is: temporality, as: "temporality"},
	},
	exponential - message: {
		{name: "dataPoints", number: 1, is: exponentialPoint, repeated: true}, {name: "aggregationTemporality", number: 2, is: temporality, as: "temporality"},
	},
	summary - message: {{name: "dataPoints", number: 1, is: summaryPoint, repeated: true}},
	numberPoint - message: {
		{name: "startTimeUnixNano", number: 2, is: instant, as: "start"}, {name: "timeUnixNano", number: 3, is: instant, as: "time"},
		{name: "asDouble", number: 4, is: float, as: "value", usual: required}, {name: "asInt", number: 6, is: wide, as: "value"},
		{name: "flags", number: 8, is: flags, as: "noRecordedValue"}, {name: "attributes", number: 7, is: keyValue, repeated: true},
	},
	histogramPoint - message: {
		{name: "startTimeUnixNano", number: 2, is: instant, as: "start"}, {name: "timeUnixNano", number: 3, is: instant, as: "time"},
		{name: "count", number: 4, is: unsigned, usual: "0"}, {name: "sum", number: 5, is: float}, {name: "min", number: 11, is: float}, {name: "max", number: 12, is: float},
		{name: "explicitBounds", number: 7, is: float, repeated: true}, {name: "bucketCounts", number: 6, is: unsigned, repeated: true},
		{name: "flags", number: 10, is: flags, as: "noRecordedValue"}, {name: "attributes", number: 9, is: keyValue, repeated: true},
	},
	exponentialPoint - message: {
		{name: "startTimeUnixNano", number: 2, is: instant, as: "start"}, {name: "timeUnixNano", number: 3, is: instant, as: "time"},
		{name: "count", number: 4, is: unsigned, usual: "0"}, {name: "sum", number: 5, is: float}, {name: "min", number: 12, is: float}, {name: "max", number: 13, is: float},
		{name: "scale", number: 6, is: signed, usual: "0"}, {name: "zeroCount", number: 7, is: unsigned}, {name: "zeroThreshold", number: 14, is: float},
		{name: "positive", number: 8, is: bucketCounts}, {name: "negative", number: 9, is: bucketCounts},
		{name: "flags", number: 10, is: flags, as: "noRecordedValue"}, {name: "attributes", number: 1, is: keyValue, repeated: true},
	},
	bucketCounts - message: {{name: "offset", number: 1, is: signed}, {name: "bucketCounts", number: 2, is: counter, repeated: true}},
	summaryPoint - message: {
		{name: "startTimeUnixNano", number: 2, is: instant, as: "start"}, {name: "timeUnixNano", number: 3, is: instant, as: "time"},
		{name: "count", number: 4, is: unsigned, usual: "0"}, {name: "sum", number: 5, is: float, usual: "0"}, {name: "quantileValues", number: 6, is: quantile, repeated: true},
		{name: "flags", number: 8, is: flags, as: "noRecordedValue"}, {name: "attributes", number: 7, is: keyValue, repeated: true},
	},
	quantile - message: {{name: "quantile", number: 1, is: float, usual: "0"}, {name: "value", number: 2, is: float, usual: "0"}},
	keyValue - message: {{name: "key", number: 1, is: text}, {name: "value", number: 2, is: anyValue}},
	anyValue - message: {
		{name: "stringValue", number: 1, is: text}, {name: "boolValue", number: 2, is: boolean}, {name: "intValue", number: 3, is: integer},
		{name: "doubleValue", number: 4, is: float}, {name: "arrayValue", number: 5, is: arrayValue}, {name: "kvlistValue", number: 6, is: keyValueList},
		{name: "bytesValue", number: 7, is: octets},
	},
	arrayValue - message:   {{name: "values", number: 1, is: anyValue, repeated: true}},
	keyValueList - message: {{name: "values", number: 1, is: keyValue, repeated: true}},
}

// forms are the wire types.
var forms = [...]byte{
	text: lengthy, octets: lengthy, boolean: varint, integer: varint, signed: varint, unsigned: fixed64, counter: varint, wide: fixed64, float: fixed64,
	instant: fixed64, temporality: varint, flags: varint,
}

func (e entry) form() byte {
	if e >= message {
		return lengthy
	}
	return forms[e]
}

func (e entry) members() []member { return layouts[e-message] }

// byNumber is the member of that number; nil where the layout has none.
func (e entry) byNumber(number uint64) *member {
	members := e.members()
	for i := range members {
		if uint64(members[i].number) == number {
			return &members[i]
		}
	}
	return nil
}
