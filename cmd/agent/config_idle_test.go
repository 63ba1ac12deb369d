package main

import (
	"strings"
	"testing"
)

func TestWhatWouldSilentlyDoNothingIsAMistake(t *testing.T) {
	const issuer = "; set provisioning.issuer: %s or renewal.issuer: %s, or remove this line"
	for _, test := range []struct{ name, text, want string }{
		{"EST that nobody asks", "est: {url: 'https://est.example.com'}",
			":5:14: provisioning.est.url: nobody asks est: the issuer is dps" + strings.ReplaceAll(issuer, "%s", "est")},
		{"a password of nobody", "issuer: est, est: {url: 'https://est.example.com', password_file: pw}",
			":5:69: provisioning.est.password_file: is the password of username, and there is none; add username"},
		{"EZCA that nobody asks", "ezca: {ca: 11111111-2222-3333-4444-555555555555}",
			":5:14: provisioning.ezca.ca: nobody asks ezca: the issuer is dps" + strings.ReplaceAll(issuer, "%s", "ezca")},
	} {
		text := strings.Replace(good, "provisioning: {", "provisioning: {\n  "+test.text+",\n", 1)
		if got := strings.Join(complaints(t, text), "\n"); got != test.want {
			t.Errorf("%s: got\n  %s\nwant\n  %s", test.name, got, test.want)
		}
	}
	for _, test := range []struct{ name, text, want string }{
		{"passwords for no listener", "telemetry: {ingest: {mqtt: {passwords: /etc/p}}}",
			":5:40: telemetry.ingest.mqtt.passwords: is for programs that speak MQTT, and listen is not set; add listen: 127.0.0.1:1883, or remove this"},
		{"topics for no listener", "telemetry: {ingest: {mqtt: {topics: [{filter: '#'}]}}}",
			":5:37: telemetry.ingest.mqtt.topics: is for programs that speak MQTT, and listen is not set; add listen: 127.0.0.1:1883, or remove this"},
		{"the mode of an address", "telemetry: {ingest: {mqtt: {listen: '127.0.0.1:1883', mode: '0600'}}}",
			":5:61: telemetry.ingest.mqtt.mode: is for a Unix socket, and whoever is on this machine can connect to an address; listen at a path, or remove this line"},
		{"the mode of a socket", "telemetry: {ingest: {mqtt: {listen: /run/mqtt.sock, mode: '0600'}}}", ""},
		{"a slip in what the cloud may change", "remote: {change: [log.level, telemetry.sensor]}",
			`:5:30: remote.change[1]: "telemetry.sensor" is no path of this file, did you mean telemetry.sensors?; write it as telemetry.sensors.interval`},
		{"what the cloud can never change", "remote: {change: [hub.rate]}",
			`:5:19: remote.change[0]: "hub.rate" cannot be changed while the agent runs; list log.level, or what is under telemetry`},
		{"an element of a list", "remote: {change: ['telemetry.sensors.each[].every']}",
			`:5:19: remote.change[0]: "telemetry.sensors.each[].every" is no path of this file, did you mean telemetry.sensors.each?; write it as telemetry.sensors.interval`},
		{"a key that a twin cannot have", "remote: {methods: [ping], key: dev.id}",
			`:5:32: remote.key: "dev.id" is no key of a twin; use letters, digits and - _`},
		{"what the cloud can change", "remote: {change: [log, telemetry, telemetry.spool.ttl, telemetry.streams.a.b]}", ""},
	} {
		if got := strings.Join(complaints(t, good+test.text), "\n"); got != test.want {
			t.Errorf("%s: got\n  %s\nwant\n  %s", test.name, got, test.want)
		}
	}
}
