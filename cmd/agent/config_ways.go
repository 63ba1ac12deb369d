package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/devid-agent/devid-agent/fault"
)

// checkWays asks for one way in that has all it needs, one way to a hub, and a renewal that fits to both.
func (d *decoder) checkWays(c *Config) {
	d.checkPlace(c)
	d.checkAttestation(c)
	d.checkIssuer(c)
	d.checkRenewal(c)
	d.checkBootstrap(c)
	d.checkModule(c)
	d.checkProxy(c)
}

// checkPlace asks for exactly one way to a hub.
func (d *decoder) checkPlace(c *Config) {
	const dps, scope = "provisioning.dps", "provisioning.dps.id_scope"
	fixed := d.sets("hub.host") && c.Hub.Host != ""
	d.wrong("hub.host", fixed && d.setsAny(dps), "a fixed hub contradicts "+d.line(dps),
		"keep one: hub.host, or provisioning.dps, which names the hub")
	d.wrong("hub.symmetric_key", !fixed && !d.bad["hub.host"], "is for a fixed hub, and hub.host is not set",
		"set hub.host; where DPS names the hub, the key is provisioning.dps.symmetric_key")
	if c.Provisioning.DPS.IDScope != "" || fixed || d.bad[scope] || d.bad[dps] || d.bad["provisioning"] || d.bad["hub.host"] || d.bad["hub"] {
		return
	}
	remedy := "add id_scope: 0ne00ABCDEF from the overview of the DPS instance, or set hub.host to a fixed hub"
	if at, set := d.marks[scope]; set {
		d.note(at, scope, "empty", remedy)
		return
	}
	d.note(d.nearestMark(dps), scope, "missing", remedy)
}

// checkAttestation holds what DPS is to know the device by against what it can be shown.
func (d *decoder) checkAttestation(c *Config) {
	const own, group, attestation = "provisioning.dps.symmetric_key", "provisioning.dps.group_key", "provisioning.dps.attestation"
	p := &c.Provisioning.DPS
	symmetric := p.Attestation == attestSymmetric
	for _, field := range []string{own, group} {
		d.wrong(field, !symmetric, "is for symmetric-key attestation, and the attestation is "+p.Attestation, "set attestation: symmetric")
	}
	d.wrong(group, p.SymmetricKey != "" && d.sets(own), "contradicts "+d.line(own), "keep one of the two")
	d.wrong(attestation, symmetric && p.SymmetricKey == "" && p.GroupKey == "", "there is no key for it", "set symmetric_key, or group_key")
	d.wrong(attestation, p.Attestation == attestTPM && c.Keys.PKCS11 != "" && d.sets("keys.pkcs11"), "needs a TPM, and "+d.line("keys.pkcs11")+" names a token",
		"set keys.tpm, or another attestation")
	d.wrong(attestation, p.Attestation == attestTPM && p.Transport != transportHTTPS, "the service takes a TPM over https only", "set transport: https")
	d.wrong("provisioning.dps.registration_id", !isDeviceID(p.RegistrationID), quote(p.RegistrationID)+" is no registration ID",
		"use 1 to 64 letters, digits and - . _ :")
	d.wrong("provisioning.dps.registration_id", p.Attestation == attestX509 && p.RegistrationID != c.Device.ID,
		"with a certificate it is the common name, which is device.id", "remove this line")
	d.wrong("provisioning.dps.registration_id", p.CSR && c.Provisioning.Issuer == issuerDPS && p.RegistrationID != c.Device.ID,
		"the certificate that DPS issues is for the registration ID, and the device is device.id", "remove this line, or set csr: false")
	var object map[string]any
	d.wrong("provisioning.dps.payload", p.Payload != "" && json.Unmarshal([]byte(p.Payload), &object) != nil, "is no JSON object", `write it as '{"site": "north"}'`)
}

// checkIssuer asks for what the issuer of the first certificate needs.
func (d *decoder) checkIssuer(c *Config) {
	const issuer = "provisioning.issuer"
	p := &c.Provisioning
	d.wrong(issuer, p.Issuer == issuerDPS && d.sets("provisioning.dps.csr") && !p.DPS.CSR,
		"contradicts "+d.line("provisioning.dps.csr")+": without a request DPS issues nothing", "remove csr: false, or set issuer: none")
	d.wrong(issuer, p.Issuer == issuerDPS && c.Hub.Host != "" && d.sets("hub.host"),
		"contradicts "+d.line("hub.host")+": with a fixed hub there is no DPS to ask", "remove issuer, or hub.host")
	d.wrong("hub.symmetric_key", p.Issuer != issuerNone, "a device that shows tokens has no certificate, and the issuer is "+p.Issuer, "remove one of the two")
	d.need(c.asks(issuerEST) && p.EST.URL == "", "provisioning.est.url", "add url: https://HOST of the EST server")
	d.need(p.EST.Username != "" && p.EST.PasswordFile == "", "provisioning.est.password_file", "add the file with the password of username")
	d.wrong("provisioning.est.password_file", p.EST.Username == "", "is the password of username, and there is none", "add username")
	d.unasked(c, issuerEST, "provisioning.est.url")
	d.unasked(c, issuerEZCA, "provisioning.ezca.ca", "provisioning.ezca.template", "provisioning.ezca.token_file")
	if p.Issuer == issuerEZCA {
		d.need(p.EZCA.CA == "", "provisioning.ezca.ca", "add the GUID of the CA: devid-station ezca cas lists them")
		d.need(p.EZCA.Template == "", "provisioning.ezca.template", "add the GUID of the template: devid-station ezca cas lists them")
		d.need(p.EZCA.TokenFile == "", "provisioning.ezca.token_file", "name the file where the token for the first certificate will be put")
	}
	d.checkEZCAKeys(c)
	if err := mistakeInEST(c); c.asks(issuerEST) && p.EST.URL != "" {
		d.wrong("provisioning.est.url", err != nil, fmt.Sprint(err), fault.Hint(err))
	}
	if err := mistakeInEZCA(c); c.asks(issuerEZCA) {
		d.wrong("provisioning.ezca", err != nil, fmt.Sprint(err), fault.Hint(err))
	}
}

// checkEZCAKeys refuses what cannot renew: EZCA knows a device by an RS256 signature of its certificate's key.
func (d *decoder) checkEZCAKeys(c *Config) {
	if !c.asks(issuerEZCA) || slices.Contains([]string{"rsa-2048", "rsa-4096"}, c.Keys.Algorithm) {
		return
	}
	field := "keys.algorithm"
	if _, set := d.marks[field]; !set {
		field = "provisioning.issuer"
	}
	if _, set := d.marks[field]; !set {
		field = "renewal.issuer"
	}
	d.wrong(field, true, "EZCA renews by its API for RSA-2048 and RSA-4096 keys only, and keys.algorithm is "+c.Keys.Algorithm,
		"set keys.algorithm: rsa-2048, or use EZCA's EST address: issuer: est and provisioning.est.url")
}

// asks reports whether that issuer is asked for the first certificate, or for the further ones.
func (c *Config) asks(issuer string) bool {
	return c.Provisioning.Issuer == issuer || c.Renewal.Issuer == issuer
}

// unasked refuses what only that issuer would look at, where nobody asks it.
func (d *decoder) unasked(c *Config, issuer string, fields ...string) {
	for _, field := range fields {
		d.wrong(field, !c.asks(issuer), "nobody asks "+issuer+": the issuer is "+c.Provisioning.Issuer,
			"set provisioning.issuer: "+issuer+" or renewal.issuer: "+issuer+", or remove this line")
	}
}

// need notes a field without which something else in the file cannot be.
func (d *decoder) need(is bool, field, remedy string) {
	if !is || d.bad[field] {
		return
	}
	what := "missing"
	if _, set := d.marks[field]; set {
		what = "empty"
	}
	d.note(d.nearestMark(field), field, what, remedy)
}

// checkRenewal holds who renews against who issued.
func (d *decoder) checkRenewal(c *Config) {
	const issuer, csr = "renewal.issuer", "provisioning.dps.csr"
	first, next := c.Provisioning.Issuer, c.Renewal.Issuer
	d.wrong(issuer, c.tokens(), "a device that shows tokens has no certificate to renew", "remove issuer")
	if !c.Provisioning.DPS.CSR && d.sets(csr) {
		d.wrong(issuer, next == issuerHub, "contradicts "+d.line(csr)+": the hub renews only certificates that DPS issued", "set csr: true, or remove issuer")
		d.wrong(issuer, next == issuerDPS, "contradicts "+d.line(csr)+": without csr DPS issues nothing", "set csr: true, or remove issuer")
	}
	d.wrong(issuer, next == issuerDPS && d.sets("hub.host") && c.Hub.Host != "",
		"contradicts "+d.line("hub.host")+": with a fixed hub there is no DPS to ask", "write issuer: hub, or provisioning.dps instead of hub.host")
	d.wrong(issuer, next == issuerDPS && first != issuerDPS, "DPS does not issue the first certificate: "+first+" does", "remove issuer")
	d.wrong(issuer, next == issuerHub && slices.Contains([]string{issuerEST, issuerEZCA, issuerHand}, first),
		"the hub renews only certificates that DPS issued, and the first comes from "+first, "write issuer: "+first)
}

// checkBootstrap asks for the bootstrap certificate where the way in needs one.
func (d *decoder) checkBootstrap(c *Config) {
	const certificate, key = "bootstrap.certificate", "bootstrap.key"
	for _, f := range []struct{ field, value, like string }{
		{certificate, c.Bootstrap.Certificate, "/etc/devid-agent/bootstrap.pem"}, {key, c.Bootstrap.Key, "/etc/devid-agent/bootstrap.key"},
	} {
		wanted := c.needsBootstrap() || c.Bootstrap.Certificate != "" || c.Bootstrap.Key != ""
		name := f.field[strings.LastIndexByte(f.field, '.')+1:]
		d.need(wanted && f.value == "" && !d.bad["bootstrap"], f.field, "write "+name+": "+f.like)
	}
}

func (d *decoder) checkModule(c *Config) {
	const module = "device.module"
	d.wrong(module, c.Hub.Host == "", "DPS knows no modules", "set hub.host to the hub of the module")
	d.wrong(module, c.Renewal.Issuer == issuerHub, "the hub renews the certificates of devices, not of modules", "set renewal.issuer: est, ezca or hand")
}

func (d *decoder) checkProxy(c *Config) {
	const proxy, password = "network.proxy", "network.proxy_password"
	u, err := url.Parse(c.Network.Proxy)
	d.wrong(proxy, err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https", quote(c.Network.Proxy)+" is no URL of an HTTP proxy", "write http://HOST:PORT")
	if d.bad[proxy] || c.Network.Proxy == "" {
		d.wrong(password, c.Network.Proxy == "", "there is no proxy", "set network.proxy, or remove this line")
		return
	}
	_, inside := u.User.Password()
	d.wrong(proxy, inside, "has the password in it, for everyone to read", "put the password into a file of mode 0600, and name it in proxy_password")
	d.wrong(password, u.User.Username() == "", fmt.Sprintf("%s names no user", proxy), "write http://USER@HOST:PORT")
}
