//go:build nohsm && noattest && noingest && nofield && noremote

package main

import (
	"strings"
	"testing"
)

func TestWhatThisBuildHasNoPartForIsAMistake(t *testing.T) {
	for tag, text := range map[string]string{
		"nohsm":    "keys: {pkcs11: 'pkcs11:token=t?module-path=/usr/lib/l.so'}",
		"noattest": "keys: {attest: true}",
		"noingest": "telemetry: {ingest: {mqtt: {listen: '127.0.0.1:1883'}}}",
		"nofield":  "telemetry: {tail: [{file: /var/log/f, stream: s}]}",
		"noremote": "remote: {methods: [ping]}",
	} {
		got := strings.Join(complaints(t, good+text), "\n")
		if !strings.Contains(got, "this build of devid-agent has no ") || !strings.HasSuffix(got, "without the tag "+tag) {
			t.Errorf("%s: %s", text, got)
		}
	}
}
