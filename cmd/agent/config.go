package main

import (
	"log/slog"
	"time"
)

// Config is everything a person may decide, as agent.yaml says it. A field that the file leaves out keeps the
// default that stands beside it; where that is "the room's", the field stays zero and the room's constructor fills
// it in. Relative paths are relative to the directory of the file. Nothing but main knows this type.
//
// The yaml tag is the key, "required" (without it the agent cannot start), "size" (bytes, as 64MiB), "path", "repeats" (a list may
// have the same twice) or "inline" (its keys are those of the section); oneof
// lists all legal values, min and max bound a number, like is an example of a good value.
type Config struct {
	Device struct {
		// ID is the registration ID at DPS and the common name of the certificates.
		ID string `yaml:"id,required" like:"gateway-0042"`
		// State is the one directory that survives: identity, keys, spool. Default /var/lib/devid-agent.
		State string `yaml:"state,path" like:"/var/lib/devid-agent"`
		// Module makes this the identity of a module of the device, whose certificates are for id/module. Default: the
		// device itself.
		Module string `yaml:"module" like:"sampler"`
	} `yaml:"device"`

	Network struct {
		// Proxy is an HTTP proxy that every connection goes through by CONNECT. Default: none; the environment is not asked.
		Proxy string `yaml:"proxy" like:"http://user@proxy.example.com:3128"`
		// ProxyPassword is the file with the password of the user that Proxy names.
		ProxyPassword string `yaml:"proxy_password,path" like:"credential:proxy-password"`
	} `yaml:"network"`

	// Trust is who may sign the certificates of Azure's servers, where an endpoint has no roots of its own.
	Trust struct {
		// System trusts the system's store. Default true.
		System bool `yaml:"system"`
		// Microsoft adds the roots that Microsoft names for DPS and IoT Hub. Default false.
		Microsoft bool `yaml:"microsoft"`
		// Roots is a PEM file with further roots.
		Roots string `yaml:"roots,path" like:"/etc/devid-agent/roots.pem"`
	} `yaml:"trust"`

	Keys struct {
		// TPM names the TPM 2.0 by TCTI string. Default device:/dev/tpmrm0, unless PKCS11 is set.
		TPM string `yaml:"tpm" like:"device:/dev/tpmrm0"`
		// PKCS11 names a token by RFC 7512 URI, instead of the TPM.
		PKCS11 string `yaml:"pkcs11" like:"pkcs11:token=gateway?module-path=/usr/lib/softhsm/libsofthsm2.so"`
		// PIN is the file with the token's user PIN. Default: what the URI's pin-source names; without either, a command
		// on a terminal asks for it.
		PIN string `yaml:"pin,path" like:"credential:token-pin"`
		// Helper is the program that loads the token's library. Default: devid-pkcs11 beside the agent, or in PATH.
		Helper string `yaml:"helper,path" like:"/usr/libexec/devid-pkcs11"`
		// Environment is what the token's library is told by environment variables, NAME=VALUE. Default: nothing.
		Environment []string `yaml:"environment" like:"SOFTHSM2_CONF=/etc/softhsm/softhsm2.conf"`
		// Algorithm of the keys made from now on. Default ecdsa-p256.
		Algorithm string `yaml:"algorithm" oneof:"ecdsa-p256 ecdsa-p384 rsa-2048 rsa-3072 rsa-4096"`
		// Policy is fresh (a key of its own for each certificate, the default) or same (the bootstrap key for all of
		// them: for tokens that make no keys).
		Policy string `yaml:"policy" oneof:"fresh same"`
		// OwnerAuth is a file with the password of the TPM's owner hierarchy. Default: none is needed.
		OwnerAuth string `yaml:"owner_auth,path" like:"credential:tpm-owner"`
		// Endorsement is the kind of the TPM's endorsement key that DPS knows it by: rsa or ecc. Default: the one that its
		// maker has certified, and rsa where neither is.
		Endorsement string `yaml:"endorsement" oneof:"rsa ecc"`
		// KeyAuth is a file with a password for the keys made from now on. Default: none.
		KeyAuth string `yaml:"key_auth,path" like:"credential:tpm-key"`
		// Persistent is the first of 16 handles where the TPM keeps new keys, too. Default: none.
		Persistent string `yaml:"persistent" like:"\"0x81008000\""`
		// Attest puts evidence into each certificate request that its key was born in the TPM (id-aa-attestation). Default
		// false: DPS and hub do not look at it.
		Attest bool `yaml:"attest"`
		// PadInAgent makes RSA keys so that the agent pads RSA-PSS. Default false: only where the TPM pads wrongly.
		PadInAgent bool `yaml:"pad_in_agent"`
		// PCR ties new keys to what the device has booted. Default: nothing is tied.
		PCR struct {
			// Select is the bank and its registers.
			Select string `yaml:"select" like:"sha256:7,11"`
			// PolicyKey is a PEM file: who may approve values.
			PolicyKey string `yaml:"policy_key,path" like:"/etc/devid-agent/pcr-public.pem"`
			// Signature is the file of approved values, as systemd-measure writes it. It comes with each update.
			Signature string `yaml:"signature,path" like:"/usr/lib/systemd/tpm2-pcr-signature.json"`
		} `yaml:"pcr"`
	} `yaml:"keys"`

	// Bootstrap is the certificate that the device was born with, for the ways in that need one.
	Bootstrap struct {
		// Certificate is a PEM file: the chain, leaf first.
		Certificate string `yaml:"certificate,path" like:"/etc/devid-agent/bootstrap.pem"`
		// Key is a PEM file: PKCS#8, EC, RSA, or TSS2 PRIVATE KEY where the key is in the TPM already. Or it names a key in
		// the hardware: handle:0x81010001 in the TPM, a pkcs11: URI with object= or id= in the token.
		Key string `yaml:"key,path" like:"/etc/devid-agent/bootstrap.key"`
	} `yaml:"bootstrap"`

	Provisioning provisioningConfig `yaml:"provisioning"`

	Hub struct {
		// Host is a fixed hub, instead of the one that DPS names. Default "": DPS names it.
		Host string `yaml:"host" like:"my-hub.azure-devices.net"`
		// Transport is mqtt (port 8883, the default), websocket (port 443), or auto: 8883, and 443 where that is blocked.
		Transport string `yaml:"transport" oneof:"mqtt websocket auto"`
		// SymmetricKey is a file with the device's key at the hub, in base64: the device then shows tokens and has no
		// certificate. The weaker choice: that key can be copied.
		SymmetricKey string `yaml:"symmetric_key,path" like:"credential:hub-key"`
		// TokenLife is how long a token is good for, where the device shows tokens. Default: the room's, 1h.
		TokenLife time.Duration `yaml:"token_life" min:"10m" max:"24h" like:"1h"`
		// Connect is what to dial instead of the hub's name, port 8883; the name in the certificate stays the hub's.
		Connect string `yaml:"connect" like:"192.0.2.8:8883"`
		// ConnectWebSocket is what transport auto dials for the WebSocket. Default: Connect or the hub's name, with port 443.
		ConnectWebSocket string `yaml:"connect_websocket" like:"192.0.2.8:443"`
		// Roots is a PEM file with the roots to trust, and no others. Default: those of trust.
		Roots string `yaml:"roots,path" like:"/etc/devid-agent/roots.pem"`
		// APIVersion on the wire. Default: the room's, 2025-08-01-preview.
		APIVersion string `yaml:"api_version" like:"2025-08-01-preview"`
		// Window is how many readings may wait for their acknowledgement. Default: the room's, 16.
		Window int `yaml:"window" min:"1" max:"1000" like:"16"`
		// KeepAlive is the MQTT one; the hub allows 1177 s at most. Default: the room's, 4m.
		KeepAlive time.Duration `yaml:"keep_alive" min:"5s" max:"1177s" like:"4m"`
		// Stall ends a session that acknowledges nothing for so long. Default: the room's, 30s.
		Stall time.Duration `yaml:"stall" min:"1s" max:"10m" like:"30s"`
		// Rate is how many messages a second go to the hub at most. Default 0: as many as it takes.
		Rate float64 `yaml:"rate" min:"0" max:"100000" like:"10"`
		// Spread is in what time the first connection comes after the machine has booted, at a random moment. Default 0: at
		// once, which is right for one device, and wrong for a thousand on one power line.
		Spread time.Duration `yaml:"spread" min:"0" max:"1h" like:"1m"`
	} `yaml:"hub"`

	Telemetry struct {
		Sensors struct {
			// Enabled samples the machine itself. Default true.
			Enabled bool `yaml:"enabled"`
			// Interval between two samples. Default: the room's, 1m.
			Interval time.Duration `yaml:"interval" min:"100ms" max:"24h" like:"1m"`
			// Sources to read. Default: all that tell of the machine itself, so neither iio nor w1.
			Sources []string `yaml:"sources" oneof:"thermal hwmon load memory disk network uptime pressure clock kernel iio w1"`
			// Each samples, sums up and reports one source in a way of its own.
			Each []probeConfig `yaml:"each"`
		} `yaml:"sensors"`
		// Tail follows files, of which each line is a reading.
		Tail []tailConfig `yaml:"tail"`
		// Ingest takes readings from other programs.
		Ingest ingestConfig `yaml:"ingest"`
		// Spool keeps the streams that have no section of their own.
		Spool struct {
			keepConfig `yaml:",inline"`
			// SegmentBytes of one file. Default: the room's, 1MiB.
			SegmentBytes int64 `yaml:"segment_bytes,size" min:"64KiB" max:"1GiB" like:"1MiB"`
			// DailyBytes is what may be written to the flash in a day, all streams together: those with Within are then kept in
			// memory for longer. What was promised to be on the disk is written in any case. Default 0: no limit.
			DailyBytes int64 `yaml:"daily_bytes,size" min:"0" max:"1TiB" like:"100MB"`
			// Reserve is kept free on the file system, for keys and certificates. Default: the room's, 1MiB.
			Reserve int64 `yaml:"reserve,size" min:"0" max:"1GiB" like:"1MiB"`
		} `yaml:"spool"`
		// Batch is how readings of those streams go together in one message.
		Batch batchConfig `yaml:"batch"`
		// Streams that are treated in a way of their own, by name.
		Streams map[string]streamConfig `yaml:"streams" like:"alarms: {priority: high}"`
	} `yaml:"telemetry"`

	Renewal struct {
		// Issuer of the next certificate: hub ($iothub/credentials), dps (enroll again), est, ezca, or hand. Default: hub where
		// DPS issued the first, else who did that; "" where nobody did: then a person renews, by putting a newer
		// bootstrap certificate in place.
		Issuer string `yaml:"issuer" oneof:"hub dps est ezca hand"`
		// Check is how often to look at the clock, beside the timer. Default: the room's, 1h.
		Check time.Duration `yaml:"check" min:"1s" max:"24h" like:"1h"`
	} `yaml:"renewal"`

	// Remote is what the cloud may ask. Default: nothing.
	Remote struct {
		// Change is what the desired properties of the twin may set: paths of this file, with all that is below.
		Change []string `yaml:"change" like:"telemetry.sensors"`
		// Methods that may be called: ping, status, check, renew, log-level, reboot, and those of programs on the device, all
		// of which "*" is.
		Methods []string `yaml:"methods" like:"status"`
		// Messages from the cloud are held for programs on the device.
		Messages bool `yaml:"messages"`
		// Key of the twin that the agent's properties are under. Default: the room's, devid-agent.
		Key string `yaml:"key" like:"devid-agent"`
		// Report is how often the reported properties are looked at, beside each change of identity. Default: the room's, 15m.
		Report time.Duration `yaml:"report" min:"10s" max:"24h" like:"15m"`
		// Upload of files goes to the hub's port 443, and to the storage that it names.
		Upload struct {
			// Connect is what to dial instead of the hub.
			Connect string `yaml:"connect" like:"192.0.2.8:443"`
			// Storage is what to dial instead of the storage.
			Storage string `yaml:"storage" like:"192.0.2.9:443"`
		} `yaml:"upload"`
	} `yaml:"remote"`

	Status struct {
		// File is what the status command reads. Default /run/devid-agent/status.json.
		File string `yaml:"file,path" like:"/run/devid-agent/status.json"`
	} `yaml:"status"`

	Log struct {
		// Level is the least that is logged. Default info.
		Level slog.Level `yaml:"level" oneof:"debug info warn error"`
		// Format of a line on standard error. Default text.
		Format string `yaml:"format" oneof:"text json"`
	} `yaml:"log"`
}

// Values of Config.Keys.Policy.
const (
	policyFresh = "fresh"
	policySame  = "same"
)

// defaultConfig is what an empty file would mean, were nothing required.
func defaultConfig() *Config {
	var c Config
	c.Device.State = "/var/lib/devid-agent"
	c.Keys.TPM = "device:/dev/tpmrm0"
	c.Keys.Algorithm = "ecdsa-p256"
	c.Keys.Policy = policyFresh
	c.Trust.System = true
	c.Provisioning.DPS.CSR = true
	c.Provisioning.EZCA.URL = "https://portal.ezca.io"
	c.Telemetry.Sensors.Enabled = true
	c.Telemetry.Ingest.Socket = "/run/devid-agent/ingest.sock"
	c.Status.File = "/run/devid-agent/status.json"
	c.Log.Format = "text"
	return &c
}
