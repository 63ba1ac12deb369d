package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// inHardware reports whether a key is named in the hardware, and not by a file.
func inHardware(key string) bool {
	return strings.HasPrefix(key, "handle:") || strings.HasPrefix(key, "pkcs11:")
}

// checkKeys settles where keys live: in the TPM, unless the file names a token.
func (d *decoder) checkKeys(c *Config) {
	d.checkTPM(c)
	d.checkToken(c)
	d.checkBootstrapKey(c)
	d.checkCredentials(c)
	d.checkPCR(c)
	same := c.Keys.Policy == policySame
	d.wrong("keys.policy", same && c.Bootstrap.Key == "", "the same key for all certificates, and there is no bootstrap.key", "name a key in the hardware as bootstrap.key")
	d.wrong("keys.policy", same && d.sets("provisioning.dps.csr") && !c.Provisioning.DPS.CSR,
		"contradicts "+d.line("provisioning.dps.csr")+": the bootstrap certificate is then the operational one anyway", "remove policy")
	d.wrong("keys.policy", same && d.sets("bootstrap.key") && !d.bad["bootstrap.key"] && !inHardware(c.Bootstrap.Key) && !d.bad["keys.policy"],
		"the same key for all certificates, and "+d.line("bootstrap.key")+" is a file", "name a key in the hardware: handle:0x81010001, or a pkcs11: URI")
}

func (d *decoder) checkTPM(c *Config) {
	const field = "keys.tpm"
	d.wrong(field, strings.HasPrefix(c.Keys.TPM, "/"), quote(c.Keys.TPM)+" lacks its kind", "write device:"+c.Keys.TPM)
	d.wrong(field, strings.HasPrefix(c.Keys.TPM, "pkcs11:"), "a PKCS#11 token, where a TPM belongs",
		"write it into keys.pkcs11, or a TCTI string here, as device:/dev/tpmrm0")
	d.wrong(field, !isTCTI(c.Keys.TPM), quote(c.Keys.TPM)+" is no TCTI string",
		"write device:/dev/tpmrm0, swtpm:path=SOCKET or swtpm:host=HOST,port=PORT")
	d.wrong("keys.persistent", !isPersistent(c.Keys.Persistent), quote(c.Keys.Persistent)+" is no persistent handle", `write it as "0x81008000"`)
	d.wrong("keys.algorithm", c.Keys.PKCS11 == "" && c.Keys.Algorithm == "rsa-4096", "no TPM has RSA-4096", "write ecdsa-p256, or name a token in keys.pkcs11")
	if c.Keys.PKCS11 == "" {
		return
	}
	for _, only := range []string{"keys.tpm", "keys.owner_auth", "keys.key_auth", "keys.persistent", "keys.endorsement", "keys.pad_in_agent", "keys.attest", "keys.pcr"} {
		_, set := d.marks[only]
		d.wrong(only, set && d.sets("keys.pkcs11"), "is about a TPM, and contradicts "+d.line("keys.pkcs11"), "keep one of the two")
	}
}

func (d *decoder) checkToken(c *Config) {
	const field = "keys.pkcs11"
	uri := c.Keys.PKCS11
	d.wrong(field, !strings.HasPrefix(uri, "pkcs11:"), quote(uri)+" is no PKCS#11 URI (RFC 7512)", "write pkcs11:token=LABEL?module-path=/usr/lib/LIBRARY.so")
	d.wrong(field, !strings.Contains(uri, "module-path="), "names no library", "add ?module-path=/usr/lib/LIBRARY.so")
	d.wrong(field, strings.Contains(uri, "pin-value="), "has the PIN in it, for everyone to read", "put the PIN into a file of mode 0600, and write pin-source=file:FILE")
	d.wrong("keys.pin", strings.Contains(uri, "pin-source=") && d.sets(field), "contradicts the pin-source in "+d.line(field), "keep one of the two")
	for _, only := range []string{"keys.pin", "keys.helper", "keys.environment"} {
		d.wrong(only, uri == "", "is about a token, and keys.pkcs11 names none", "set keys.pkcs11, or remove this line")
	}
	d.wrong("keys.environment", slices.ContainsFunc(c.Keys.Environment, func(v string) bool { return !isVariable(v) }),
		"not all are NAME=VALUE", "write them as SOFTHSM2_CONF=/etc/softhsm/softhsm2.conf")
}

func (d *decoder) checkBootstrapKey(c *Config) {
	const field = "bootstrap.key"
	key := c.Bootstrap.Key
	d.wrong(field, strings.HasPrefix(key, "handle:") && !isHandle(key), quote(key)+" is no persistent handle", "write it as handle:0x81010001")
	d.wrong(field, strings.HasPrefix(key, "handle:") && c.Keys.PKCS11 != "", "is in a TPM, and contradicts "+d.line("keys.pkcs11"), "keep one of the two")
	d.wrong(field, strings.HasPrefix(key, "pkcs11:") && c.Keys.PKCS11 == "", "is in a token, and keys.pkcs11 names none", "set keys.pkcs11")
}

// checkCredentials looks for the directory that systemd makes for a service with credentials.
func (d *decoder) checkCredentials(c *Config) {
	for field, path := range map[string]string{
		"keys.pin": c.Keys.PIN, "keys.owner_auth": c.Keys.OwnerAuth, "keys.key_auth": c.Keys.KeyAuth,
		"network.proxy_password": c.Network.ProxyPassword, "hub.symmetric_key": c.Hub.SymmetricKey,
		"provisioning.dps.symmetric_key": c.Provisioning.DPS.SymmetricKey, "provisioning.dps.group_key": c.Provisioning.DPS.GroupKey,
		"telemetry.ingest.mqtt.passwords": c.Telemetry.Ingest.MQTT.Passwords,
		"provisioning.est.password_file":  c.Provisioning.EST.PasswordFile, "provisioning.ezca.token_file": c.Provisioning.EZCA.TokenFile,
	} {
		name, secret := strings.CutPrefix(path, credentialPrefix)
		d.wrong(field, secret && os.Getenv("CREDENTIALS_DIRECTORY") == "", "there are no credentials: systemd hands them to the service only",
			fmt.Sprintf("run this as the service does: systemd-run --pty -p LoadCredential=%s:FILE devid-agent …", name))
	}
}

func (d *decoder) checkPCR(c *Config) {
	p := c.Keys.PCR
	if p.Select == "" && p.PolicyKey == "" && p.Signature == "" {
		return
	}
	_, _, err := parsePCRs(p.Select)
	d.wrong("keys.pcr.select", err != nil, fmt.Sprint(err), "write bank and registers, as sha256:7,11")
	if p.Select == "" || p.PolicyKey == "" || p.Signature == "" {
		d.note(d.nearestMark("keys.pcr"), "keys.pcr", "incomplete", "set select, policy_key and signature, or none of them")
	}
}

// parsePCRs reads a selection such as sha256:7,11.
func parsePCRs(s string) (bank string, pcrs []int, err error) {
	if s == "" {
		return "", nil, nil
	}
	bank, list, ok := strings.Cut(s, ":")
	if !ok {
		return "", nil, fmt.Errorf("%s names no bank", quote(s))
	}
	for _, text := range strings.Split(list, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > 23 {
			return "", nil, fmt.Errorf("%s is no register from 0 to 23", quote(text))
		}
		pcrs = append(pcrs, n)
	}
	return bank, pcrs, nil
}

// hardware is where keys live, in one word.
func (c *Config) hardware() string {
	if c.Keys.PKCS11 != "" {
		return "pkcs11"
	}
	return "tpm"
}
