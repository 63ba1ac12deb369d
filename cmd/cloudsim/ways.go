package main

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/devid-agent/devid-agent/sim"
)

// wayX509 is the way in where none is asked for.
const wayX509 = "x509"

// ways are how a device may come in: each makes the cloud ready for the device, writes the files that it needs, and returns
// what belongs into its agent.yaml.
var ways = map[string]func(*paper) (string, error){
	wayX509:     (*paper).byCertificate,
	"symmetric": (*paper).byKey,
	"group":     (*paper).byGroupKey,
	"tpm":       (*paper).byTPM,
	"est":       (*paper).byEST,
	"ezca":      (*paper).byEZCA,
	"ezca-est":  (*paper).byEZCAEST,
	"direct":    (*paper).direct,
	"sas":       (*paper).directByKey,
	"module":    (*paper).module,
}

func wayNames() []string { return slices.Sorted(maps.Keys(ways)) }

// byCertificate is DPS with a bootstrap certificate of the factory, whose root is enrolled as a group.
func (p *paper) byCertificate() (string, error) {
	err := p.bootstrap(p.id)
	return p.x509Text(), err
}

func (p *paper) x509Text() string {
	roots := p.file("roots.pem")
	return fmt.Sprintf(`device: {id: %q}
bootstrap: {certificate: %q, key: %q}
provisioning: {dps: {endpoint: %s, connect: %q, id_scope: %s, roots: %q}}
hub: {connect: %q, roots: %q}
`, p.id, p.path("bootstrap.pem"), p.key, sim.DPSHost, p.cloud.DPSAddr(), sim.IDScope, roots, p.cloud.HubAddr(), roots)
}

// byKey is DPS with an individual enrollment that has a symmetric key.
func (p *paper) byKey() (string, error) {
	key, text := newSymmetricKey()
	file, err := p.secret("symmetric.key", text)
	p.cloud.Enroll(sim.Enrollment{Registration: p.id, SymmetricKey: key})
	return p.dpsText(fmt.Sprintf("attestation: symmetric, symmetric_key: %q", file)), err
}

// byGroupKey is DPS with a key from which those of a whole group are derived.
func (p *paper) byGroupKey() (string, error) {
	key, text := newSymmetricKey()
	file, err := p.secret("group.key", text)
	p.cloud.Enroll(sim.Enrollment{Group: "fleet-" + p.id, SymmetricKey: key})
	return p.dpsText(fmt.Sprintf("attestation: symmetric, group_key: %q", file)), err
}

// byTPM is DPS with an individual enrollment that has the endorsement key of a TPM, by HTTPS.
func (p *paper) byTPM() (string, error) {
	text := p.dpsTextAt(p.cloud.DPSHTTPAddr(), "attestation: tpm, transport: https")
	if p.endorsement == "" {
		return text + fmt.Sprintf("# DPS does not know the TPM yet: devid-cloudsim ctl --dir %s create enrollment %s --endorsement FILE\n", p.options.dir, p.id), nil
	}
	ek, err := readBinary(p.endorsement)
	if err != nil {
		return "", err
	}
	p.cloud.Enroll(sim.Enrollment{Registration: p.id, EndorsementKey: ek})
	return text, nil
}

func (p *paper) dpsText(how string) string { return p.dpsTextAt(p.cloud.DPSAddr(), how) }

func (p *paper) dpsTextAt(connect, how string) string {
	return fmt.Sprintf("device: {id: %q}\nprovisioning:\n  dps: {endpoint: %s, connect: %q, id_scope: %s, %s, roots: %q}\n%s",
		p.id, sim.DPSHost, connect, sim.IDScope, how, p.file("roots.pem"), p.hubText())
}

func (p *paper) hubText() string {
	return fmt.Sprintf("hub: {connect: %q, roots: %q}\n", p.cloud.HubAddr(), p.file("roots.pem"))
}

// placedText lets DPS say which hub, for devices whose certificates come from elsewhere.
func (p *paper) placedText() string {
	return fmt.Sprintf("  dps: {endpoint: %s, connect: %q, id_scope: %s, csr: false, roots: %q}\n", sim.DPSHost, p.cloud.DPSAddr(), sim.IDScope, p.file("roots.pem"))
}

// byEST is the EST server with a bootstrap certificate of the factory.
func (p *paper) byEST() (string, error) {
	err := p.bootstrap(p.id)
	return p.estText("https://"+p.cloud.ESTAddr(), p.file("est-roots.pem")), err
}

func (p *paper) estText(url, anchors string) string {
	return fmt.Sprintf("device: {id: %q}\nbootstrap: {certificate: %q, key: %q}\nprovisioning:\n  issuer: est\n  est: {url: %q, roots: %q, anchors: %q}\n",
		p.id, p.path("bootstrap.pem"), p.key, url, p.file("roots.pem"), anchors) + p.placedText() + p.hubText()
}

// byEZCA is EZCA's own interface, with a token for the first certificate. It renews RSA keys alone.
func (p *paper) byEZCA() (string, error) {
	file, err := p.secret("ezca.token", []byte(p.cloud.EZCAToken()+"\n"))
	names := p.cloud.EZCA()
	return fmt.Sprintf("device: {id: %q}\nkeys: {algorithm: rsa-2048}\nprovisioning:\n  issuer: ezca\n  ezca: {url: %q, ca: %s, template: %s, token_file: %q, issuers: %q, roots: %q}\n",
		p.id, "https://"+p.cloud.EZCAAddr(), names.CA, names.Template, file, p.file("ezca-issuers.pem"), p.file("roots.pem")) + p.placedText() + p.hubText(), err
}

// byEZCAEST is EZCA's EST address, with a bootstrap certificate that EZCA issued before. It takes EC keys, too.
func (p *paper) byEZCAEST() (string, error) {
	if err := p.bootstrapFrom(p.id, p.cloud.EZCABootstrap); err != nil {
		return "", err
	}
	return p.estText("https://"+p.cloud.EZCAAddr()+p.cloud.EZCAESTPath(), p.file("ezca-issuers.pem")), nil
}

// direct is a fixed hub that knows the factory's CA.
func (p *paper) direct() (string, error) {
	p.cloud.CreateDevice(p.id, sim.Auth{CA: p.cloud.FactoryCA()})
	err := p.bootstrap(p.id)
	return fmt.Sprintf("device: {id: %q}\n", p.id) + p.fixedText(), err
}

// fixedText is a fixed hub, and the certificate for it.
func (p *paper) fixedText() string {
	return fmt.Sprintf("bootstrap: {certificate: %q, key: %q}\nhub: {host: %s, connect: %q, roots: %q}\n",
		p.path("bootstrap.pem"), p.key, sim.HubHost, p.cloud.HubAddr(), p.file("roots.pem"))
}

// directByKey is a fixed hub that knows a symmetric key of the device.
func (p *paper) directByKey() (string, error) {
	key, text := newSymmetricKey()
	file, err := p.secret("hub.key", text)
	p.cloud.CreateDevice(p.id, sim.Auth{Keys: [][]byte{key}})
	return fmt.Sprintf("device: {id: %q}\nhub: {host: %s, connect: %q, roots: %q, symmetric_key: %q}\n",
		p.id, sim.HubHost, p.cloud.HubAddr(), p.file("roots.pem"), file), err
}

// module is a fixed hub that knows the module "agent" of the device by the factory's CA.
func (p *paper) module() (string, error) {
	name := p.id + "/agent"
	p.cloud.CreateDevice(name, sim.Auth{CA: p.cloud.FactoryCA()})
	err := p.bootstrap(name)
	return fmt.Sprintf("device: {id: %q, module: agent}\n", p.id) + p.fixedText(), err
}

// newSymmetricKey is a key, and how a file has it.
func newSymmetricKey() (key, text []byte) {
	key = make([]byte, 32)
	rand.Read(key)
	return key, []byte(base64.StdEncoding.EncodeToString(key) + "\n")
}

// readBinary reads a file that holds bytes as they are, or in base64.
func readBinary(file string) ([]byte, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if len(b) == 0 {
		return nil, fmt.Errorf("%s is empty", file)
	}
	if decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(b))); err == nil {
		return decoded, nil
	}
	return b, nil
}
