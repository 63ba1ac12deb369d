package main

import (
	"fmt"

	"github.com/devid-agent/devid-agent/fault"
)

// notBuiltIn says that a part of the agent was left out by that build tag.
func notBuiltIn(part, tag string) error {
	return fault.AskOperator(fmt.Errorf("this build of devid-agent has no %s", part), "install one that was built without the tag "+tag)
}

// checkParts refuses what the file asks for and this build has no part for.
func (d *decoder) checkParts(c *Config) {
	in := c.Telemetry.Ingest
	for _, p := range []struct {
		field     string
		is, built bool
		part, tag string
	}{
		{"keys.pkcs11", c.Keys.PKCS11 != "", builtHSM, "PKCS#11", "nohsm"},
		{"keys.attest", c.Keys.Attest, builtAttest, "attestation", "noattest"},
		{"telemetry.ingest.socket", in.Socket != "", builtIngest, "ingest", "noingest"},
		{"telemetry.ingest.mqtt.listen", in.MQTT.Listen != "", builtIngest, "ingest", "noingest"},
		{"telemetry.sensors.each", len(c.Telemetry.Sensors.Each) > 0, builtField, "sensors with a section of their own", "nofield"},
		{"telemetry.tail", len(c.Telemetry.Tail) > 0, builtField, "files that are followed", "nofield"},
		{"remote", c.asked(), builtRemote, "answers for the cloud", "noremote"},
	} {
		err := notBuiltIn(p.part, p.tag)
		d.wrong(p.field, p.is && !p.built, err.Error(), fault.Hint(err))
	}
}
