package main

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// The first versions of the wire that know certificate requests (Microsoft Learn, "IoT Hub certificate management").
const (
	dpsWithCSR  = "2025-07-01-preview"
	dpsFirstCSR = "2021-11-01-preview" // an earlier preview, with requests of another form
	hubWithCSR  = "2025-08-01-preview"
)

// maxSocketPath is what fits into sockaddr_un with its closing zero (unix(7)).
const maxSocketPath = 107

// check notes the values that are understood and yet cannot be, alone or with one another.
func (d *decoder) check(c *Config) {
	c.settle()
	d.checkDevice(c)
	d.checkKeys(c)
	d.checkNames(c)
	d.checkWays(c)
	d.checkVersions(c)
	d.checkTelemetry(c)
	d.checkRemote(c)
	d.checkParts(c)
}

// wrong notes what is wrong with a field that the file sets and that was understood so far.
func (d *decoder) wrong(field string, is bool, what, remedy string) {
	at, set := d.marks[field]
	if is && set && !d.bad[field] {
		d.bad[field] = true
		d.note(at, field, what, remedy)
	}
}

// sets reports whether the file sets all these fields, to values that were understood.
func (d *decoder) sets(fields ...string) bool {
	for _, f := range fields {
		if _, set := d.marks[f]; !set || d.bad[f] {
			return false
		}
	}
	return true
}

// setsAny reports whether the file sets a key of this section.
func (d *decoder) setsAny(section string) bool {
	for field := range d.marks {
		if strings.HasPrefix(field, section+".") {
			return true
		}
	}
	return false
}

// line is where the file sets a field, in words.
func (d *decoder) line(field string) string {
	if d.marks[field].line == 0 {
		return field // it comes from elsewhere
	}
	return fmt.Sprintf("%s on line %d", field, d.marks[field].line)
}

func (d *decoder) checkDevice(c *Config) {
	d.wrong("device.id", !isDeviceID(c.Device.ID), quote(c.Device.ID)+" is no registration ID",
		"use 1 to 64 letters, digits and - . _ : and end with a letter, a digit or -")
	d.wrong("device.state", c.Device.State == "", "empty", "write a directory, as /var/lib/devid-agent")
	d.wrong("device.module", c.Device.Module != "" && !isDeviceID(c.Device.Module), quote(c.Device.Module)+" is no module ID",
		"use 1 to 64 letters, digits and - . _ :")
	d.wrong("device.module", len(c.name()) > 64, "with device.id it is longer than the 64 characters of a common name", "choose a shorter one")
}

func (d *decoder) checkNames(c *Config) {
	dps := &c.Provisioning.DPS
	d.checkHost("provisioning.dps.endpoint", dps.Endpoint)
	d.checkHost("hub.host", c.Hub.Host)
	d.checkAddress("provisioning.dps.connect", dps.Connect)
	d.checkAddress("hub.connect", c.Hub.Connect)
	d.checkAddress("hub.connect_websocket", c.Hub.ConnectWebSocket)
	d.wrong("hub.connect_websocket", c.Hub.Transport != transportAuto, "is for transport: auto", "set transport: auto, or use hub.connect")
	d.wrong("provisioning.dps.id_scope", dps.IDScope != "" && !isIDScope(dps.IDScope),
		quote(dps.IDScope)+" is no ID scope", "copy it from the overview of the DPS instance, as 0ne00ABCDEF")
}

func (d *decoder) checkHost(field, host string) {
	_, bare, url := strings.Cut(host, "://")
	if url {
		host = strings.TrimRight(bare, "/")
	}
	d.wrong(field, url, "a URL, where the name of a host belongs", "write "+host)
	name, port, err := net.SplitHostPort(host)
	section := field[:strings.LastIndexByte(field, '.')]
	d.wrong(field, err == nil, "names a port, "+quote(port), "write "+name+" here, and HOST:PORT into "+section+".connect")
	d.wrong(field, host != "" && (len(host) > 253 || !isHostName(host)), quote(host)+" is no host name",
		"write the full name, as my-hub.azure-devices.net")
}

func (d *decoder) checkAddress(field, address string) {
	host, port, err := net.SplitHostPort(address)
	number, bad := strconv.ParseUint(port, 10, 16)
	d.wrong(field, address != "" && (err != nil || bad != nil || number == 0 || host == ""),
		quote(address)+" is no HOST:PORT", "write both, as 192.0.2.7:8883 or [2001:db8::7]:8883")
}

// nearestMark is the place of a section, of one around it, or the top of the file.
func (d *decoder) nearestMark(field string) mark {
	for {
		if at, set := d.marks[field]; set {
			return at
		}
		dot := strings.LastIndexByte(field, '.')
		if dot < 0 {
			return mark{1, 1}
		}
		field = field[:dot]
	}
}

func (d *decoder) checkVersions(c *Config) {
	const dps, hub, csr = "provisioning.dps.api_version", "hub.api_version", "provisioning.dps.csr"
	for field, version := range map[string]string{dps: c.Provisioning.DPS.APIVersion, hub: c.Hub.APIVersion} {
		d.wrong(field, version != "" && !isAPIVersion(version), quote(version)+" is no API version",
			"write a date, as "+hubWithCSR+", or remove the line")
	}
	d.wrong(dps, c.Provisioning.Issuer == issuerDPS && !d.bad[csr] && c.Provisioning.DPS.APIVersion != dpsFirstCSR && tooOld(c.Provisioning.DPS.APIVersion, dpsWithCSR),
		"too old for certificate requests"+d.because(csr, ", which %s asks for"), "write "+dpsWithCSR+" or newer, or set csr: false")
	d.wrong(hub, c.Renewal.Issuer == issuerHub && !d.bad["renewal.issuer"] && tooOld(c.Hub.APIVersion, hubWithCSR),
		"too old for renewal by the hub"+d.because("renewal.issuer", ", which %s asks for"), "write "+hubWithCSR+" or newer, or renewal.issuer: dps")
}

// because names the other line of a contradiction, where there is one.
func (d *decoder) because(field, words string) string {
	if !d.sets(field) {
		return ", which is the default"
	}
	return fmt.Sprintf(words, d.line(field))
}

// tooOld compares dates of ten characters, which sort as text.
func tooOld(version, first string) bool { return len(version) >= 10 && version[:10] < first[:10] }

func (d *decoder) checkTelemetry(c *Config) {
	const most, segment = "telemetry.spool.max_bytes", "telemetry.spool.segment_bytes"
	d.wrong(segment, d.sets(most) && c.Telemetry.Spool.SegmentBytes > c.Telemetry.Spool.MaxBytes/2,
		"a segment larger than half of "+d.line(most)+": the oldest segment is dropped whole", "make it smaller: a sixteenth of max_bytes is good")
	d.checkIngest(c)
	d.checkSensors(c)
	d.checkStreams(c)
}
