package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestWhatEZCACannotRenewIsAMistakeBeforeItIsAsked(t *testing.T) {
	const rsa, rule = "keys: {algorithm: rsa-2048}\n", "EZCA renews by its API for RSA-2048 and RSA-4096 keys only, and keys.algorithm is ecdsa-p256; " +
		"set keys.algorithm: rsa-2048, or use EZCA's EST address: issuer: est and provisioning.est.url"
	for _, test := range []struct{ name, text, want string }{
		{"an ECDSA key", good + "keys: {algorithm: ecdsa-p256}\nrenewal: {issuer: ezca}", ":5:19: keys.algorithm: " + rule},
		{"the usual key", good + "renewal: {issuer: ezca}", ":5:19: renewal.issuer: " + rule},
		{"an RSA key", good + rsa + "renewal: {issuer: ezca}", ""},
		{"a renewal with a CA that is none", strings.Replace(good, "provisioning: {", "provisioning: {ezca: {ca: x}, ", 1) + rsa + "renewal: {issuer: ezca}",
			":4:16: provisioning.ezca: ezca: ca is \"x\", and not a GUID; set provisioning.ezca.ca and template as EZCA names them: devid-station lists them, and so does the portal under Certificate Authorities"},
	} {
		if got := strings.Join(complaints(t, test.text), "\n"); got != test.want {
			t.Errorf("%s: got\n  %s\nwant\n  %s", test.name, got, test.want)
		}
	}
}

// Issue "Bad configuration": each answers with line, field and remedy.
func TestMistakeIsNamedWithItsPlaceAndRemedy(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"unknown key", good + "hub: {keepalive: 4m}", ":5:7: hub.keepalive: unknown key; did you mean keep_alive?"},
		{"unknown section", good + "telemetri: {}", ":5:1: telemetri: unknown key; did you mean telemetry?"},
		{"key of another section", good + "hub: {id_scope: 0ne1}", ":5:7: hub.id_scope: unknown key; did you mean provisioning.dps.id_scope?"},
		{"key of nowhere", good + "log: {colour: red}", ":5:7: log.colour: unknown key; known here: level, format"},
		{"remote", good + "remote: {reboot: true}", ":5:10: remote.reboot: unknown key; did you mean report?"},
		{"bool", good + "telemetry: {sensors: {enabled: yes}}", `:5:32: telemetry.sensors.enabled: expected true or false, got "yes"; write true or false`},
		{"quoted bool", good + "telemetry: {sensors: {enabled: 'true'}}", `:5:32: telemetry.sensors.enabled: expected true or false, got text in quotes; write true or false`},
		{"int", good + "hub: {window: many}", `:5:15: hub.window: expected a whole number, got "many"; write a whole number, as 16`},
		{"int range", good + "hub: {window: 0}", ":5:15: hub.window: less than 1; write a value between 1 and 1000"},
		{"duration", good + "hub: {stall: soon}", `:5:14: hub.stall: expected a duration, got "soon"; write a duration with its unit, as 30s`},
		{"duration without unit", good + "hub: {stall: 30}", `:5:14: hub.stall: "30" has no unit; write a duration with its unit, as 30s`},
		{"duration range", good + "hub: {keep_alive: 20m}", ":5:19: hub.keep_alive: more than 1177s; write a value between 5s and 1177s"},
		{"size", good + "telemetry: {spool: {max_bytes: 64M}}", `:5:32: telemetry.spool.max_bytes: expected a size in B, KiB, MiB, GiB, kB, MB or GB, got "64M"; write a size, as 64MiB`},
		{"size overflow", good + "telemetry: {spool: {max_bytes: 9999999999TiB}}", `:5:32: telemetry.spool.max_bytes: "9999999999TiB" is too large; write a size, as 64MiB`},
		{"mode", good + "telemetry: {ingest: {mode: 660}}", `:5:28: telemetry.ingest.mode: expected an octal file mode, got "660"; write an octal file mode in quotes, as "0660"`},
		{"mode without owner", good + `telemetry: {ingest: {mode: "0066"}}`, `:5:28: telemetry.ingest.mode: shuts out the agent itself; write "0600", "0660" or "0666"`},
		{"one of", good + "log: {level: inof}", `:5:14: log.level: unknown value "inof", did you mean info?; write one of debug, info, warn, error`},
		{"list of one of", good + "telemetry: {sensors: {sources: [load, thermals]}}", `:5:39: telemetry.sensors.sources[1]: unknown value "thermals", did you mean thermal?; write one of thermal, hwmon, load, memory, disk, network, uptime, pressure, clock, kernel, iio, w1`},
		{"no list", good + "telemetry: {sensors: {sources: load}}", `:5:32: telemetry.sensors.sources: expected a list, got "load"; write sources: [thermal, hwmon]`},
		{"twice in a list", good + "telemetry: {sensors: {sources: [load, load]}}", `:5:39: telemetry.sensors.sources[1]: "load" is listed twice; keep one of the two`},
		{"text", good + "hub: {connect: true}", `:5:16: hub.connect: expected text, got true; write text, as 192.0.2.8:8883`},
		{"section", good + "hub: my-hub", `:5:6: hub: expected a section of keys, got "my-hub"; write keys below it: host, transport, symmetric_key, token_life, connect, connect_websocket, roots, api_version, window, keep_alive, stall, rate, spread`},
		{"section as list", good + "log: [text]", `:5:6: log: expected a section of keys, got a list; write keys below it: level, format`},
		{"no value", good + "hub: {stall: }", ":5:14: hub.stall: has no value; write a duration with its unit, as 30s, or remove the line for the default"},
		{"twice", good + "log: {level: info, level: debug}", ":5:20: log.level: set twice, first on line 5; keep one of the two"},
		{"alias", good + "log: &l {level: info}\nhub: *l", ":6:6: hub: an alias; write the keys themselves: aliases are not read here"},
		{"merge", good + "hub: &h {stall: 1s}\nlog: {<<: *h}", ":6:7: log: a merge key; write the keys themselves: merge keys are not read here"},
		{"tag", good + "hub: {window: !!int 3}", `:5:15: hub.window: a YAML tag; remove "!!int": the type is known here`},
		{"dotted key", good + "hub.stall: 30s\n", ":5:1: hub.stall: unknown key; a dot does not nest: write each part as a section of its own"},
		{"URL as host", strings.Replace(good, "dps: {", "dps: {endpoint: 'https://dps.test/', ", 1), `:4:32: provisioning.dps.endpoint: a URL, where the name of a host belongs; write dps.test`},
		{"host with port", strings.Replace(good, "dps: {", "dps: {endpoint: 'dps.test:8883', ", 1), `:4:32: provisioning.dps.endpoint: names a port, "8883"; write dps.test here, and HOST:PORT into provisioning.dps.connect`},
		{"connect without port", good + "hub: {connect: localhost}", `:5:16: hub.connect: "localhost" is no HOST:PORT; write both, as 192.0.2.7:8883 or [2001:db8::7]:8883`},
		{"device", strings.Replace(good, "gateway-0042", "gate/way", 1), `:2:14: device.id: "gate/way" is no registration ID; use 1 to 64 letters, digits and - . _ : and end with a letter, a digit or -`},
		{"tpm without kind", good + "keys: {tpm: /dev/tpmrm0}", `:5:13: keys.tpm: "/dev/tpmrm0" lacks its kind; write device:/dev/tpmrm0`},
		{"variable", good + "status: {file: $HOME/x}", `:5:16: status.file: "$HOME/x": neither ~ nor variables are expanded here; write the name of a file, as /run/devid-agent/status.json`},
		{"long socket", good + "telemetry: {ingest: {socket: /" + strings.Repeat("x", 120) + "}}", ":5:30: telemetry.ingest.socket: 121 characters, and a Unix socket has room for 107; choose a shorter path"},
		{"API version", good + "hub: {api_version: latest}", `:5:20: hub.api_version: "latest" is no API version; write a date, as 2025-08-01-preview, or remove the line`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := complaints(t, test.text); !slices.Equal(got, []string{test.want}) {
				t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), test.want)
			}
		})
	}
}

func TestContradictionNamesBothLines(t *testing.T) {
	const csrOff = "device: {id: gateway-0042}\nbootstrap: {certificate: bootstrap.pem, key: bootstrap.key}\nprovisioning:\n  dps:\n    id_scope: 0ne1\n    csr: false\n"
	const fixed = "device: {id: gateway-0042}\nbootstrap: {certificate: bootstrap.pem, key: bootstrap.key}\nhub:\n  host: my-hub.azure-devices.net\n"
	for _, test := range []struct{ name, text, want string }{
		{"two ways to a hub", good + "hub:\n  host: my-hub.azure-devices.net", ":6:9: hub.host: a fixed hub contradicts provisioning.dps on line 4; keep one: hub.host, or provisioning.dps, which names the hub"},
		{"renewal by the hub without CSR", csrOff + "renewal:\n  issuer: hub", ":8:11: renewal.issuer: contradicts provisioning.dps.csr on line 6: the hub renews only certificates that DPS issued; set csr: true, or remove issuer"},
		{"renewal by DPS without CSR", csrOff + "renewal: {issuer: dps}", ":7:19: renewal.issuer: contradicts provisioning.dps.csr on line 6: without csr DPS issues nothing; set csr: true, or remove issuer"},
		{"renewal by DPS with a fixed hub", fixed + "renewal: {issuer: dps}", ":5:19: renewal.issuer: contradicts hub.host on line 4: with a fixed hub there is no DPS to ask; write issuer: hub, or provisioning.dps instead of hub.host"},
		{"old DPS with CSR", strings.Replace(csrOff, "csr: false", "csr: true\n    api_version: 2021-06-01", 1), ":7:18: provisioning.dps.api_version: too old for certificate requests, which provisioning.dps.csr on line 6 asks for; write 2025-07-01-preview or newer, or set csr: false"},
		{"old hub with renewal", good + "renewal: {issuer: hub}\nhub: {api_version: 2021-04-12}", ":6:20: hub.api_version: too old for renewal by the hub, which renewal.issuer on line 5 asks for; write 2025-08-01-preview or newer, or renewal.issuer: dps"},
		{"segment and spool", good + "telemetry:\n  spool:\n    max_bytes: 1MiB\n    segment_bytes: 1MiB", ":8:20: telemetry.spool.segment_bytes: a segment larger than half of telemetry.spool.max_bytes on line 7: the oldest segment is dropped whole; make it smaller: a sixteenth of max_bytes is good"},
		{"sources without sensors", good + "telemetry:\n  sensors:\n    enabled: false\n    sources: [load]", ":8:14: telemetry.sensors.sources: contradicts telemetry.sensors.enabled on line 7; set enabled: true, or remove sources"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := complaints(t, test.text); !slices.Equal(got, []string{test.want}) {
				t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), test.want)
			}
		})
	}
	for name, text := range map[string]string{"csr off": csrOff, "fixed hub": fixed, "fixed hub beside commented-out DPS": fixed + "provisioning:\n  dps:\n"} {
		if got := complaints(t, text); got != nil {
			t.Errorf("%s alone is legal, got %v", name, got)
		}
	}
}

func TestWithoutCSRAPersonRenews(t *testing.T) {
	dir := etc(t, "gateway-0042")
	c, err := loadConfig(place(t, dir, "agent.yaml", []byte(strings.Replace(good, "0ne00ABCDEF", "0ne1, csr: false", 1)), 0o644))
	if err != nil || c.Renewal.Issuer != "" {
		t.Errorf("issuer %q, %v", c.Renewal.Issuer, err)
	}
}

func TestWhatIsMissingIsAskedFor(t *testing.T) {
	got := complaints(t, "log: {level: info}\nbootstrap: {key: ''}\n")
	want := []string{
		":1:1: device.id: missing; add it, as id: gateway-0042",
		":1:1: provisioning.dps.id_scope: missing; add id_scope: 0ne00ABCDEF from the overview of the DPS instance, or set hub.host to a fixed hub",
		":2:1: bootstrap.certificate: missing; write certificate: /etc/devid-agent/bootstrap.pem",
		":2:18: bootstrap.key: empty; write key: /etc/devid-agent/bootstrap.key",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestFileThatIsNoConfigurationIsNamedInWords(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"empty", "", ": the file says nothing; start from examples/agent.yaml"},
		{"comments only", "# nothing\n---\n# here\n", ": the file says nothing; start from examples/agent.yaml"},
		{"two documents", good + "---\nlog: {}\n", ":5:1: a second document begins here; keep one: remove the line '---' before it"},
		{"a list", "- a\n- b\n", ":1:1: expected a section of keys, got a list; write keys below it: device, network, trust, keys, bootstrap, provisioning, hub, telemetry, renewal, remote, status, log"},
		{"Latin-1", "device:\n  id: caf\xe9\n", ":2:10: byte 0xe9 is not UTF-8; save the file as UTF-8"},
		{"UTF-16", "\xff\xfed\x00", ":1:1: the file is UTF-16; save it as UTF-8"},
		{"control character", "device:\n  id: a\x00b\n", ":2:8: control character U+0000; remove it"},
		{"tab", "device:\n\tid: gateway-0042\nlog:\n  level: info\n \tformat: text\n", ":2:1: a tab in the indentation, which YAML does not allow; use two spaces|:5:2: a tab in the indentation, which YAML does not allow; use two spaces"},
		{"open quote", "device:\n  id: \"gateway\nlog:\n  level: info\n", ":2:3: a quote that nobody closes; close it (nothing below was read)"},
		{"open bracket", "device:\n  id: g\ntelemetry:\n  sensors: {sources: [load, memory}\nlog:\n  level: info\n", ":4:3: a bracket that nobody closes; close it, and put commas between the values (nothing below was read)"},
		{"indentation", "device:\n  id: g\n state: /x\n", ":3:2: the line does not fit the ones above; align it with its neighbours, and close what is open (nothing below was read)"},
		{"colon in a value", "device:\n  id: g\nkeys:\n  tpm: swtpm: path=/x\n", ":4:3: a ':' where no key can be; put the value in quotes, or align the line with its neighbours (nothing below was read)"},
		{"comma too many", "device: {id: g,,}\n", ":1:1: a bracket that nobody closes, or a comma too many; close it, and put values between the commas (nothing below was read)"},
		{"no colon", "device:\n  id: g\nlog\nhub:\n", ":3:1: a key without ':'; write KEY: VALUE (nothing below was read)"},
		{"unknown alias", "device:\n  id: *name\n", ":2:3: an alias without its anchor; write the value itself: aliases are not read here (nothing below was read)"},
		{"large", strings.Repeat("# x\n", 20000), ": larger than 64 KiB, so hardly a configuration; name the right file with --config"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := strings.Join(complaints(t, test.text), "|"); got != test.want {
				t.Errorf("got\n  %s\nwant\n  %s", got, test.want)
			}
		})
	}
}

func TestConfigurationThatCannotBeReadIsNamed(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		filepath.Join(dir, "none.yaml"): "none.yaml: does not exist; start from examples/agent.yaml, or name another file with --config",
		dir:                             ": is a directory; name the file in it",
	} {
		if _, err := loadConfig(path); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
