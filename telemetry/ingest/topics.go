package ingest

import (
	"errors"
	"fmt"
	"mime"
	"strings"

	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// Topic says which stream the messages of some topics belong to.
type Topic struct {
	Filter string // as of a subscription: + is one level, # at the end is all further ones
	// Stream may hold {1}, {2} … for what the first, the second … wildcard stood for, and {0} for the whole topic. A /
	// becomes a dot, and what is empty is left out with its dot. "" acknowledges the messages and lets them go.
	Stream string
	Type   string // media type of the payload; "" is application/json where it is JSON, and application/octet-stream
}

// ThinEdge are the rules for the measurements of thin-edge.io, by its present topics ("MQTT API", te/<identifier>/m/<type>)
// and those of before 1.0 ("legacy/mqtt-topics"). They hold after the configured ones.
var ThinEdge = []Topic{
	{Filter: "te/+/+/+/+/m/+", Stream: "{2}.{4}.{5}"},
	{Filter: "tedge/measurements", Stream: "main"},
	{Filter: "tedge/measurements/+", Stream: "{1}"},
}

var (
	errFilter = errors.New("# stands for the last levels, and + for a whole one")
	errStream = errors.New("not a name of a stream: 1 to 64 of a-z A-Z 0-9 - _ . and {n} for the n-th wildcard")
)

const maxType = 127 // characters of a media type (RFC 6838, section 4.2), as the spool has room for

// Check says what is wrong with the rule, or nil.
func (t Topic) Check() error {
	levels := strings.Split(t.Filter, "/")
	wildcards := 0
	for i, level := range levels {
		if strings.ContainsAny(level, "+#") {
			wildcards++
			if len(level) > 1 || level == "#" && i < len(levels)-1 {
				return fmt.Errorf("topic %q: %w", t.Filter, errFilter)
			}
		}
	}
	if t.Filter == "" {
		return fmt.Errorf("topic %q: %w", t.Filter, errFilter)
	}
	stood := make([]string, wildcards+1)
	for i := range stood {
		stood[i] = "x"
	}
	if _, _, err := mime.ParseMediaType(t.Type); t.Type != "" && (err != nil || len(t.Type) > maxType) {
		return fmt.Errorf("topic %q: type %.40q is no media type", t.Filter, t.Type)
	}
	if t.Stream != "" && !spool.ValidStream(fill(t.Stream, stood)) {
		return fmt.Errorf("topic %q: stream %q: %w", t.Filter, t.Stream, errStream)
	}
	return nil
}

// streamOf is the stream that messages of topic belong to, and their type. ok is false for a topic that has none; a
// stream that is "" is to be let go.
func streamOf(rules []Topic, topic string) (stream, kind string, ok bool) {
	for _, t := range rules {
		if stood, met := match(t.Filter, topic); met {
			if t.Stream == "" {
				return "", "", true
			}
			stream = fill(t.Stream, stood)
			return stream, t.Type, spool.ValidStream(stream)
		}
	}
	if topic[0] == '$' { // of the broker that sends it, not of an application (section 4.7.2)
		return "", "", true
	}
	stream = dotted(topic)
	return stream, "", spool.ValidStream(stream)
}

// match reports whether topic is one of filter's, and what the wildcards stood for, behind the whole topic.
func match(filter, topic string) (stood []string, ok bool) {
	if topic[0] == '$' && filter[0] != '$' { // section 4.7.2
		return nil, false
	}
	stood = []string{topic}
	rest, more := topic, true
	for {
		level, after, deeper := strings.Cut(filter, "/")
		if level == "#" {
			return append(stood, rest), true // also no level at all: sport/# meets sport (section 4.7.1.2)
		}
		if !more {
			return nil, false
		}
		var at string
		at, rest, more = strings.Cut(rest, "/")
		if level == "+" {
			stood = append(stood, at)
		} else if level != at {
			return nil, false
		}
		if !deeper {
			return stood, !more
		}
		filter = after
	}
}

// fill is the template with what the wildcards stood for.
func fill(template string, stood []string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(template, "{")
		b.WriteString(before)
		if !found {
			return dotted(b.String())
		}
		digit, after, closed := strings.Cut(rest, "}")
		if !closed || len(digit) != 1 || int(digit[0]-'0') >= len(stood) {
			return "" // no stream
		}
		b.WriteString(stood[digit[0]-'0'])
		template = after
	}
}

// dotted is a topic with its levels behind dots, without the empty ones.
func dotted(topic string) string {
	var b strings.Builder
	for level := range strings.FieldsFuncSeq(topic, func(r rune) bool { return r == '/' || r == '.' }) {
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(level)
	}
	return b.String()
}
