package attest_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/attest"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/tpm/tpmtest"
)

// tool runs a program in dir, and returns what it prints.
func tool(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	out, err := try(t, dir, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

func try(t *testing.T, dir, name string, args ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("apt-get install openssl tpm2-tools")
	}
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func file(t *testing.T, dir, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestStrangersReadTheStatementAndVerifyItsSignature(t *testing.T) {
	e := newDevice(t, tpmtest.Start(t), keys.ECDSAP256).attest(key)
	dir := t.TempDir()
	file(t, dir, "attest", e.TPM.Attest)
	// tpm2_print of some releases prints what all statements have in common, and then fails for those about keys.
	said, _ := try(t, dir, "tpm2_print", "-t", "TPMS_ATTEST", "attest")
	if !strings.Contains(said, "type: 8017") || !strings.Contains(said, "extraData: "+hex.EncodeToString(e.Statement())) {
		t.Errorf("tpm2_print reads another statement:\n%s", said)
	}
	ak, signature := akOf(t, e)
	file(t, dir, "ak.pem", ak)
	file(t, dir, "signature", signature)
	tool(t, dir, "openssl", "dgst", "-sha256", "-verify", "ak.pem", "-signature", "signature", "attest")
}

// akOf is the attestation key as PEM, and its signature as openssl knows it.
func akOf(t *testing.T, e keys.Evidence) (key, signature []byte) {
	t.Helper()
	area, err := tpm2.Unmarshal[tpm2.TPMTPublic](e.TPM.AK)
	if err != nil {
		t.Fatal(err)
	}
	public, err := tpm2.Pub(*area)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public.(*ecdsa.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	s, err := tpm2.Unmarshal[tpm2.TPMTSignature](e.TPM.Signature)
	if err != nil {
		t.Fatal(err)
	}
	parts, err := s.Signature.ECDSA()
	if err != nil {
		t.Fatal(err)
	}
	signature, err = asn1.Marshal([]*big.Int{new(big.Int).SetBytes(parts.SignatureR.Buffer), new(big.Int).SetBytes(parts.SignatureS.Buffer)})
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), signature
}

func TestChallengeMadeByTPM2ToolsIsAnswered(t *testing.T) {
	maker := tpmtest.NewMaker(t)
	rsa := made(t, maker, keys.ECDSAP256) // the endorsement key is RSA, and the TPM keeps it
	p := tpmtest.Start(t)
	newFactory(t).endorse(p, nil)
	ecc := newDevice(t, p, keys.ECDSAP256) // it is elliptic, and derived
	for kind, d := range map[string]*device{"rsa": rsa, "ecc": ecc} {
		e := d.attest(key)
		dir := t.TempDir()
		secret := []byte("a stranger's secret of 32 bytes.")
		file(t, dir, "secret", secret)
		file(t, dir, "ek.pub", append(binary.BigEndian.AppendUint16(nil, uint16(len(e.TPM.EK))), e.TPM.EK...))
		tool(t, dir, "tpm2_makecredential", "-T", "none", "-u", "ek.pub", "-n", hex.EncodeToString(e.TPM.AKName), "-s", "secret", "-o", "credential")
		c := readCredential(t, filepath.Join(dir, "credential"))
		c.Version, c.AKName, c.EK = 1, e.TPM.AKName, e.TPM.EK
		answer, err := d.store.Answer(t.Context(), c)
		if err != nil || !bytes.Equal(answer.Secret, secret) {
			t.Errorf("%s: %q, %v", kind, answer.Secret, err)
		}
	}
}

// readCredential reads the file of tpm2_makecredential: magic, version, TPM2B_ID_OBJECT, TPM2B_ENCRYPTED_SECRET.
func readCredential(t *testing.T, path string) (c keys.Challenge) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b = b[8:]
	for _, to := range []*[]byte{&c.Credential, &c.Seed} {
		n := int(binary.BigEndian.Uint16(b))
		*to, b = b[2:2+n], b[2+n:]
	}
	return c
}

func TestRequestWithEvidenceIsReadByOpenSSL(t *testing.T) {
	for _, a := range []keys.Algorithm{keys.ECDSAP256, keys.RSA2048} {
		p := tpmtest.Start(t)
		newFactory(t).endorse(p, nil)
		d := newDevice(t, p, a)
		e := d.attest(key)
		csr := d.request(e)
		wantGrade(t, e, attest.Question{Nonce: nonce, Request: csr}, attest.Unproven)
		dir := t.TempDir()
		file(t, dir, "csr", csr)
		said := tool(t, dir, "openssl", "req", "-inform", "DER", "-in", "csr", "-noout", "-verify", "-subject")
		if !strings.Contains(said, "CN = gateway-0042") && !strings.Contains(said, "CN=gateway-0042") {
			t.Errorf("openssl req: %s", said)
		}
		if got := outline(tool(t, dir, "openssl", "asn1parse", "-inform", "DER", "-in", "csr")); !strings.Contains(got, attributeOutline) {
			t.Errorf("the attribute is not as the draft has it:\n%s", got)
		}
	}
}

func (d *device) request(e keys.Evidence) []byte {
	d.t.Helper()
	k, err := d.store.Open(d.t.Context(), key)
	if err != nil {
		d.t.Fatal(err)
	}
	csr, err := attest.CSR("gateway-0042", k, e)
	if err != nil {
		d.t.Fatal(err)
	}
	return csr
}

// attributeOutline is id-aa-attestation with AttestationBundle of draft-ietf-lamps-csr-attestation-27 and
// Tcg-csr-tpm-certify, by depth; the certificates follow.
const attributeOutline = `
2 cont [ 0 ]
3 SEQUENCE
4 OBJECT 1.2.840.113549.1.9.16.2.59
4 SET
5 SEQUENCE
6 SEQUENCE
7 SEQUENCE
8 OBJECT 2.23.133.20.1
8 SEQUENCE
9 OCTET STRING
9 OCTET STRING
9 OCTET STRING
6 SEQUENCE
7 SEQUENCE
8 SEQUENCE
`

// outline is asn1parse without places, lengths and values.
func outline(said string) string {
	lines := []string{""}
	for line := range strings.Lines(said) {
		_, rest, _ := strings.Cut(line, "d=")
		depth, rest, _ := strings.Cut(rest, " ")
		_, rest, _ = strings.Cut(rest, ": ")
		rest, _, _ = strings.Cut(rest, "[HEX DUMP]")
		value, rest, _ := strings.Cut(rest, ":")
		if value = strings.Join(strings.Fields(value), " "); strings.HasPrefix(value, "OBJECT") {
			value += " " + strings.TrimSpace(rest)
		}
		lines = append(lines, depth+" "+value)
	}
	return strings.Join(lines, "\n") + "\n"
}

func TestRequestIsHeldAgainstTheEvidence(t *testing.T) {
	d := newDevice(t, tpmtest.Start(t), keys.ECDSAP256)
	d.create("other")
	e, other := d.attest(key), d.attest("other")
	csr := d.request(e)
	wantRefused(t, other, attest.Question{Nonce: nonce, Request: csr}, "another key")
	wantRefused(t, d.attest(key), attest.Question{Nonce: nonce, Request: csr}, "other evidence")
	for i := range csr {
		changed := bytes.Clone(csr)
		changed[i] ^= 1
		wantRefused(t, e, attest.Question{Nonce: nonce, Request: changed}, "certificate request")
	}
	k, err := d.store.Open(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := attest.CSR("gateway-0042", k, other); err == nil {
		t.Error("a request was made with evidence of another key")
	}
	plain, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, k)
	if err != nil {
		t.Fatal(err)
	}
	wantRefused(t, e, attest.Question{Nonce: nonce, Request: plain}, "no attestation")
}
