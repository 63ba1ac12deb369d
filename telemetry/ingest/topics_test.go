package ingest

import (
	"strings"
	"testing"

	"github.com/devid-agent/devid-agent/telemetry/spool"
)

func TestTopicLeadsToItsStream(t *testing.T) {
	rules := append([]Topic{
		{Filter: "sensors/+/temp", Stream: "{1}"},
		{Filter: "plant/#", Stream: "plant.{1}", Type: "text/plain"},
		{Filter: "a/+/+", Stream: "{2}-{1}"},
		{Filter: "+/b/#", Stream: "b.{2}"},
		{Filter: "whole/+", Stream: "{0}"},
		{Filter: "noise/#"},
		{Filter: "$share/+", Stream: "{1}"},
	}, ThinEdge...)
	for _, test := range []struct{ topic, stream, kind string }{
		{"sensors/boiler/temp", "boiler", ""},
		{"sensors/boiler/humidity", "sensors.boiler.humidity", ""},
		{"sensors/boiler/temp/max", "sensors.boiler.temp.max", ""},
		{"plant/hall/1/x", "plant.hall.1.x", "text/plain"},
		{"plant", "plant", "text/plain"},
		{"a/1/2", "2-1", ""},
		{"x/b", "b", ""},
		{"x/b/y/z", "b.y.z", ""},
		{"whole/x", "whole.x", ""},
		{"noise/of/all", "", ""},
		{"$SYS/broker/uptime", "", ""},
		{"$share/x", "x", ""},
		{"te/device/main///m/environment", "main.environment", ""},
		{"te/device/main///m/", "main", ""},
		{"te/device/child01/service/collectd/m/cpu", "child01.collectd.cpu", ""},
		{"te/device/main///e/login", "te.device.main.e.login", ""},
		{"tedge/measurements", "main", ""},
		{"tedge/measurements/child01", "child01", ""},
		{"boiler", "boiler", ""},
		{"/boiler//1/", "boiler.1", ""},
	} {
		stream, kind, ok := streamOf(rules, test.topic)
		if !ok || stream != test.stream || kind != test.kind {
			t.Errorf("%s leads to %q as %q (%v), want %q as %q", test.topic, stream, kind, ok, test.stream, test.kind)
		}
	}
	for _, topic := range []string{"a b", "ä", "/", "sensors/+x/temp", strings.Repeat("x", 65), "sensors//temp"} {
		if stream, _, ok := streamOf(rules, topic); ok {
			t.Errorf("%q leads to %q", topic, stream)
		}
	}
}

func TestRuleThatCannotBeIsRefused(t *testing.T) {
	for _, rule := range []Topic{
		{Filter: "", Stream: "a"}, {Filter: "a/#/b", Stream: "a"}, {Filter: "a+/b", Stream: "a"}, {Filter: "a#", Stream: "a"},
		{Filter: "a/+", Stream: "{2}"}, {Filter: "a", Stream: "a b"}, {Filter: "a/+", Stream: "{1"}, {Filter: "a/+", Stream: "{x}"}, {Filter: "a/+", Stream: "..."}, {Filter: "a", Stream: "a", Type: "a b"},
	} {
		if rule.Check() == nil {
			t.Errorf("%+v may be", rule)
		}
	}
	for _, rule := range append(ThinEdge, Topic{Filter: "#", Stream: "all"}, Topic{Filter: "+/+", Stream: "{2}.{1}"}, Topic{Filter: "a/#"}) {
		if err := rule.Check(); err != nil {
			t.Errorf("%+v: %v", rule, err)
		}
	}
}

func FuzzTopic(f *testing.F) {
	f.Add("sensors/+/temp", "{1}", "sensors/a/temp")
	f.Add("plant/#", "p.{1}.{0}", "plant/x/y")
	f.Add("+/+/#", "{3}{2}{1}", "$SYS/a//")
	f.Fuzz(func(t *testing.T, filter, template, topic string) {
		rule := Topic{Filter: filter, Stream: template}
		if rule.Check() != nil || !topicName([]byte(topic)) {
			return
		}
		stream, _, ok := streamOf([]Topic{rule}, topic)
		if ok && stream != "" && !spool.ValidStream(stream) {
			t.Errorf("%q by %q as %q leads to %q", topic, filter, template, stream)
		}
	})
}
