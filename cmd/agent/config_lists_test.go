package main

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestAMistakeInAListOrANamedSectionIsToldWhereItIs(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"a list of sections that is one section", "tail: {file: /f, stream: s}",
			":6:9: telemetry.tail: expected a list of sections, got a section; begin each with a dash: - file: …"},
		{"an element that is no section", "tail: [/f]",
			`:6:10: telemetry.tail[0]: expected a section of keys, got "/f"; write keys below it: file, stream, format, from`},
		{"a required key of an element", "tail: [{file: /f}]", ":6:10: telemetry.tail[0].stream: missing; add it, as stream: press"},
		{"a slip in an element", "tail: [{file: /f, stream: s, form: text}]", ":6:32: telemetry.tail[0].form: unknown key; did you mean from?"},
		{"a value in an element", "tail: [{file: /f, stream: s, from: begin}]",
			`:6:38: telemetry.tail[0].from: unknown value "begin"; write one of end, start`},
		{"a key twice in an element", "tail: [{file: /f, file: /g, stream: s}]",
			":6:21: telemetry.tail[0].file: set twice, first on line 6; keep one of the two"},
		{"a file twice", "tail: [{file: /f, stream: s}, {file: /f, stream: t}]",
			":6:40: telemetry.tail[1].file: followed twice, first on line 6; keep one of the two"},
		{"an alias of an element", "{tail: [&a {file: /f, stream: s}, *a]}",
			":6:37: telemetry.tail[1]: an alias; write the keys themselves: aliases are not read here"},
		{"a key of a list elsewhere", "{deadband: 1}", ":6:4: telemetry.deadband: unknown key; did you mean telemetry.sensors.each[].deadband?"},
		{"a key of a named section elsewhere", "{ttl: 1h, priority: high}",
			":6:4: telemetry.ttl: unknown key; did you mean telemetry.spool.ttl or telemetry.streams.NAME.ttl?\n" +
				":6:13: telemetry.priority: unknown key; did you mean telemetry.streams.NAME.priority?"},
		{"a source that would be the time of its reading", "sensors: {each: [{source: load, as: time}]}",
			":6:39: telemetry.sensors.each[0].as: is what each reading calls its time; call it something else"},
		{"named sections as a list", "streams: [{name: alarms}]",
			":6:12: telemetry.streams: expected a section of sections, got a list; write alarms: {priority: high} below it"},
		{"a name twice", "streams: {a: {}, a: {}}", ":6:20: telemetry.streams.a: set twice, first on line 6; keep one of the two"},
		{"a name that is none", "streams: {a/b: {}}", `:6:13: telemetry.streams.a/b: "a/b" is no name of a stream; use 1 to 64 of a-z A-Z 0-9 - _ .`},
		{"a name that is a place", "streams: {..: {}}", `:6:13: telemetry.streams...: ".." is no name of a stream; use 1 to 64 of a-z A-Z 0-9 - _ .`},
		{"a slip in a named section", "streams: {a: {prioriti: high}}", ":6:17: telemetry.streams.a.prioriti: unknown key; did you mean priority?"},
		{"a slip in an inlined key", "streams: {a: {max_byte: 1MiB}}", ":6:17: telemetry.streams.a.max_byte: unknown key; did you mean max_bytes?"},
		{"an inlined key twice", "spool: {ttl: 1h, ttl: 2h}", ":6:20: telemetry.spool.ttl: set twice, first on line 6; keep one of the two"},
		{"a value out of its range", "streams: {a: {within: 2h}}", ":6:25: telemetry.streams.a.within: more than 1h; write a value between 0 and 1h"},
		{"a size without a unit we know", "streams: {a: {batch: {bytes: 4K}}}",
			`:6:32: telemetry.streams.a.batch.bytes: expected a size in B, KiB, MiB, GiB, kB, MB or GB, got "4K"; write a size, as 4KB`},
		{"a batch of one", "streams: {a: {batch: {age: 10s}}}",
			":6:30: telemetry.streams.a.batch.age: is about messages with several readings, and telemetry.streams.a.batch.bytes allows one; set bytes: 4KB, or remove this line"},
		{"a number", "sensors: {each: [{source: load, deadband: some}]}",
			`:6:45: telemetry.sensors.each[0].deadband: expected a number, got "some"; write a number, as 0.5`},
		{"a number that is none", "sensors: {each: [{source: load, deadband: .nan}]}",
			`:6:45: telemetry.sensors.each[0].deadband: expected a number, got ".nan"; write a number, as 0.5`},
		{"a list of numbers", "sensors: {each: [{source: load, keep: histogram, bounds: [1, two]}]}",
			`:6:64: telemetry.sensors.each[0].bounds[1]: expected a number, got "two"; write a number, as 20`},
		{"bounds that descend", "sensors: {each: [{source: load, keep: histogram, bounds: [2, 1]}]}",
			":6:20: telemetry.sensors.each[0]: a histogram without ascending bounds; add bounds: [20, 40, 60]"},
		{"a command without its path", "sensors: {each: [{source: exec, command: [sh]}]}",
			":6:20: telemetry.sensors.each[0]: exec without a command that is named by its whole path; add command: [/usr/lib/boiler/read]"},
		{"a command of nobody", "sensors: {each: [{source: load, command: [/bin/sh], env: [A=b]}]}",
			":6:44: telemetry.sensors.each[0].command: is for the source exec; remove it\n:6:60: telemetry.sensors.each[0].env: is for the source exec; remove it"},
		{"a source that is none", "sensors: {each: [{source: laod}]}",
			`:6:29: telemetry.sensors.each[0].source: unknown value "laod", did you mean load?; write one of ` +
				"thermal, hwmon, load, memory, disk, network, uptime, pressure, clock, kernel, iio, w1, process, service, exec"},
		{"permissions for nobody", "ingest: {permissions: [{streams: ['*']}]}", ":6:26: telemetry.ingest.permissions[0]: names nobody; add user, group or login"},
		{"a listener for the world", "ingest: {mqtt: {listen: '192.0.2.1:1883'}}",
			`:6:27: telemetry.ingest.mqtt.listen: "192.0.2.1:1883" is neither an address of this machine's loopback nor a path; write 127.0.0.1:1883, [::1]:1883 or /run/devid-agent/mqtt.sock`},
		{"two listeners on one socket", "ingest: {socket: /run/s, mqtt: {listen: /run/s}}",
			":6:43: telemetry.ingest.mqtt.listen: is the socket that takes HTTP; choose another path"},
		{"a batch that is never in hand", "ingest: {max_batch: 8MiB, in_hand: 4MiB}",
			":6:23: telemetry.ingest.max_batch: more than may be in hand, telemetry.ingest.in_hand on line 6; make in_hand larger"},
		{"what is commented out is not there", "{tail: , streams: , sensors: {each: }}", ""},
	} {
		if got := strings.Join(complaints(t, good+"telemetry:\n  "+test.text), "\n"); got != test.want {
			t.Errorf("%s: got\n  %s\nwant\n  %s", test.name, got, test.want)
		}
	}
}

func TestANumberOfTheHubIsHeldAgainstItsBounds(t *testing.T) {
	for text, want := range map[string]string{
		"{rate: 0.5, transport: auto, connect_websocket: '192.0.2.8:443', spread: 1m}": "",
		"{rate: -1}":                           ":5:13: hub.rate: less than 0; write a value between 0 and 100000",
		"{rate: 1e9}":                          ":5:13: hub.rate: more than 100000; write a value between 0 and 100000",
		"{connect_websocket: '192.0.2.8:443'}": ":5:26: hub.connect_websocket: is for transport: auto; set transport: auto, or use hub.connect",
	} {
		if got := strings.Join(complaints(t, good+"hub: "+text), "\n"); got != want {
			t.Errorf("%s: got\n  %s\nwant\n  %s", text, got, want)
		}
	}
}

func TestListsAndNamedSectionsArriveTyped(t *testing.T) {
	dir := etc(t, "gateway-0042")
	c, err := loadConfig(place(t, dir, "agent.yaml", []byte(good+`
telemetry:
  sensors:
    each:
      - {source: thermal, every: 5s, report: 1m, keep: histogram, bounds: [20, 40.5], deadband: 0.5}
      - {source: exec, command: [/bin/echo, a, a], env: [A=b, C=d]}
  tail: [{file: /var/log/press.log, stream: press, from: start}]
  ingest:
    mqtt: {listen: /run/mqtt.sock, topics: [{filter: "s/+", stream: "{1}"}, {filter: "#", stream: ""}]}
  spool: {drop: newest, daily_bytes: 100MB}
  streams:
    alarms: {priority: high, drop: refuse}
    vibration: {priority: low, ttl: 24h, within: 30s, max_bytes: 16MiB, batch: {bytes: 4KB, age: 10s, format: cbor, gzip: true}}
    plain:
`), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	each := []probeConfig{
		{Source: "thermal", Every: 5 * time.Second, Report: time.Minute, Keep: "histogram", Bounds: []float64{20, 40.5}, Deadband: 0.5},
		{Source: "exec", Command: []string{"/bin/echo", "a", "a"}, Env: []string{"A=b", "C=d"}},
	}
	streams := map[string]streamConfig{
		"alarms": {Priority: "high", keepConfig: keepConfig{Drop: "refuse"}},
		"vibration": {Priority: "low", keepConfig: keepConfig{MaxBytes: 16 << 20, TTL: 24 * time.Hour, Within: 30 * time.Second},
			Batch: batchConfig{Bytes: 4000, Age: 10 * time.Second, Format: "cbor", Gzip: true}},
		"plain": {},
	}
	for _, part := range []struct{ got, want any }{
		{c.Telemetry.Sensors.Each, each},
		{c.Telemetry.Streams, streams},
		{c.Telemetry.Tail, []tailConfig{{File: "/var/log/press.log", Stream: "press", From: "start"}}},
		{c.Telemetry.Ingest.MQTT.Topics, []topicConfig{{Filter: "s/+", Stream: "{1}"}, {Filter: "#"}}},
		{c.Telemetry.Spool.keepConfig, keepConfig{Drop: "newest"}},
		{c.Telemetry.Spool.keepConfig.limits(c).Budget, int64(25_000_000)},
	} {
		if !reflect.DeepEqual(part.got, part.want) {
			t.Errorf("got\n%+v\nwant\n%+v", part.got, part.want)
		}
	}
}

// yamlBlock is a block of YAML in a document, which may stand in a list.
var yamlBlock = regexp.MustCompile("(?ms)^( *)```yaml\n(.*?)^ *```$")

// whole is the part of a configuration that a document shows, with what a device needs besides.
func whole(block string) string {
	for line := range strings.Lines(good) {
		section, _, _ := strings.Cut(line, ":")
		fixed := section == "provisioning" && strings.Contains(block, "host:")
		if section != "" && !fixed && !strings.Contains("\n"+block, "\n"+section+":") {
			block += line
		}
	}
	return block
}

func TestTheConfigurationInTheDocumentsIsRead(t *testing.T) {
	t.Setenv("CREDENTIALS_DIRECTORY", t.TempDir())
	blocks := 0
	for _, pattern := range []string{"../../README.md", "../../docs/*.md", "../../docs/enroll/*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range yamlBlock.FindAllStringSubmatch(string(text), -1) {
				block := strings.ReplaceAll(strings.ReplaceAll("\n"+m[2], "\n"+m[1], "\n")[1:], "gateway-1", "gateway-0042")
				if strings.Contains(block, "…") {
					continue
				}
				blocks++
				for _, wrong := range complaints(t, whole(block)) {
					// Its files are on no desk, and what it leaves out stands elsewhere on the page.
					if !strings.Contains(wrong, " does not exist") && !strings.Contains(wrong, ": missing; ") {
						t.Errorf("%s: %s\n%s", file, wrong, block)
					}
				}
			}
		}
	}
	if blocks < 20 {
		t.Errorf("%d blocks of YAML: the documents have more", blocks)
	}
}

// What the example shows as an example is right as well as what it says is the default.
func TestTheTelemetryThatTheExampleShowsIsRead(t *testing.T) {
	t.Setenv("CREDENTIALS_DIRECTORY", t.TempDir())
	text, err := os.ReadFile("../../examples/agent.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, telemetry, _ := strings.Cut(string(text), "\ntelemetry:\n")
	telemetry, _, _ = strings.Cut(telemetry, "\nrenewal:\n")
	shown := regexp.MustCompile(`(?m)^( *)## `).ReplaceAllString(telemetry, "$1")
	if shown == telemetry {
		t.Fatal("it shows nothing")
	}
	if wrong := complaints(t, good+"telemetry:\n"+shown); wrong != nil {
		t.Errorf("%s", strings.Join(wrong, "\n"))
	}
}

// What the benchmarks and the emulated gateway give their agent, with the names in it filled in.
func TestTheConfigurationOfTheBenchmarksIsRead(t *testing.T) {
	text, err := os.ReadFile("../../examples/bench/agent.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := etc(t, "gateway-0042")
	values := map[string]string{"DEVICE": "gateway-0042", "DIR": "/tmp/b", "TPM": "/tmp/tpm.sock", "BOOTSTRAP": filepath.Join(dir, "bootstrap"), "ID_SCOPE": "0ne1",
		"DPS": "127.0.0.1:8883", "DPS_ROOTS": "roots.pem", "HUB": "127.0.0.1:8884", "HUB_ROOTS": "roots.pem", "WINDOW": "16", "SPOOL": "64MiB",
		"MQTT": "    mqtt:\n      listen: /tmp/b/mqtt.sock"}
	filled := os.Expand(string(text), func(name string) string { return values[name] })
	if wrong := complaintsIn(t, dir, filled); wrong != nil {
		t.Errorf("%s", strings.Join(wrong, "\n"))
	}
}
