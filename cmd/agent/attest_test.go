package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/devid-agent/devid-agent/attest"
	"github.com/devid-agent/devid-agent/sim"
	"github.com/devid-agent/devid-agent/tpm/tpmtest"
)

const (
	askedNonce = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	otherNonce = "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
)

// verifier is a machine without a TPM and without a configuration: a directory of files.
type verifier struct {
	t   *testing.T
	dir string
}

func (v *verifier) file(name string) string { return filepath.Join(v.dir, name) }

// command runs one command line of the verifier's.
func (v *verifier) command(args ...string) (code int, out, errOut string) {
	var o, e bytes.Buffer
	code = execute(v.t.Context(), args, &o, &e)
	return code, o.String(), e.String()
}

// verdict is what attest verify says of evidence.json.
func (v *verifier) verdict(flags ...string) (attest.Verdict, int) {
	v.t.Helper()
	code, out, errOut := v.command(append([]string{"attest", "verify", v.file("evidence.json"), "--json"}, flags...)...)
	var said attest.Verdict
	if err := json.Unmarshal([]byte(out), &said); err != nil {
		v.t.Fatalf("attest verify: %v\n%s%s", err, out, errOut)
	}
	return said, code
}

func (v *verifier) write(name string, content []byte) {
	v.t.Helper()
	if err := os.WriteFile(v.file(name), content, 0o600); err != nil {
		v.t.Fatal(err)
	}
}

// attested is an enrolled device with a TPM of a known maker, and a verifier who has its evidence.
func attested(t *testing.T) (*desk, *verifier) {
	t.Helper()
	maker := tpmtest.NewMaker(t)
	d := newDesk(t, sim.Temper{}, "")
	d.append(azure(d.cloud))
	maker.Endorse(d.tpm)
	d.must(nil, "enroll")
	v := &verifier{t: t, dir: t.TempDir()}
	v.write("maker.pem", append(maker.Root(t), maker.Issuer(t)...))
	d.must(nil, "attest", "--nonce", askedNonce, "--out", v.file("evidence.json"))
	return d, v
}

func TestEvidenceIsProvenByFilesAlone(t *testing.T) {
	d, v := attested(t)
	asked := []string{"--nonce", askedNonce}
	trusting := append(asked, "--roots", v.file("maker.pem"))

	if said, code := v.verdict(asked...); code != 0 || said.Grade != attest.Unproven || !strings.Contains(said.Words, "AK unproven") {
		t.Errorf("without roots: %d %+v", code, said)
	}
	if said, code := v.verdict(append(trusting, "--require", "tpm-proven")...); code != exitFailure || said.OK || said.Grade != attest.Unproven {
		t.Errorf("a better grade is required: %d %+v", code, said)
	}
	if code, _, errOut := v.command("attest", "challenge", v.file("evidence.json"), "--roots", v.file("maker.pem"),
		"--secret", v.file("secret.json"), "--out", v.file("challenge.json")); code != 0 {
		t.Fatalf("attest challenge: %d %s", code, errOut)
	}
	d.must(nil, "attest", "answer", v.file("challenge.json"), "--out", v.file("answer.json"))
	proof := append(trusting, "--secret", v.file("secret.json"), "--answer", v.file("answer.json"), "--require", "tpm-proven")
	said, code := v.verdict(proof...)
	if code != 0 || !said.OK || said.Grade != attest.Proven || !strings.Contains(said.Words, "born in a TPM 2.0") {
		t.Errorf("with the answer: %d %+v", code, said)
	}
	var shown keyView
	d.must(&shown, "key", "show", "device-g1", "--json")
	if said.Key != shown.SHA256 {
		t.Errorf("the evidence is about %s, the key is %s", said.Key, shown.SHA256)
	}
	if code, out, _ := v.command(append([]string{"attest", "verify", v.file("evidence.json")}, proof...)...); code != 0 || !strings.Contains(out, "grade tpm-proven: born in a TPM 2.0") {
		t.Errorf("in words: %d\n%s", code, out)
	}

	// The proof of the attestation key stays good for the key of the next generation.
	d.must(nil, "renew")
	if err := os.Remove(v.file("evidence.json")); err != nil {
		t.Fatal(err)
	}
	d.must(nil, "attest", "--nonce", askedNonce, "--out", v.file("evidence.json"))
	if said, code := v.verdict(proof...); code != 0 || said.Grade != attest.Proven || said.Key == shown.SHA256 {
		t.Errorf("after a renewal: %d %+v", code, said)
	}
}

func TestEvidenceInCBORIsProvenAndHeldToEachByte(t *testing.T) {
	d, v := attested(t)
	long, err := os.ReadFile(v.file("evidence.json"))
	if err != nil || os.Remove(v.file("evidence.json")) != nil {
		t.Fatal(err)
	}
	d.must(nil, "attest", "--nonce", askedNonce, "--cbor", "--out", v.file("evidence.json"))
	whole, err := os.ReadFile(v.file("evidence.json"))
	if err != nil || len(whole)*4 > len(long)*3 {
		t.Fatalf("%d bytes of CBOR, %d of JSON: %v", len(whole), len(long), err)
	}
	if code, _, errOut := v.command("attest", "challenge", v.file("evidence.json"), "--roots", v.file("maker.pem"),
		"--secret", v.file("secret.json"), "--out", v.file("challenge.json")); code != 0 {
		t.Fatalf("attest challenge: %d %s", code, errOut)
	}
	_, answer, _ := d.command("attest", "answer", v.file("challenge.json"), "--cbor") // on standard output
	v.write("answer.cbor", []byte(answer))
	proof := []string{"--nonce", askedNonce, "--roots", v.file("maker.pem"), "--secret", v.file("secret.json"), "--answer", v.file("answer.cbor")}
	if said, code := v.verdict(proof...); code != 0 || said.Grade != attest.Proven {
		t.Errorf("%d %+v", code, said)
	}
	whole[len(whole)-1] ^= 1
	v.write("evidence.json", whole)
	if code, out, _ := v.command(append([]string{"attest", "verify", v.file("evidence.json")}, proof...)...); code != exitFailure || strings.Contains(out, "tpm-proven") {
		t.Errorf("with another last byte: %d\n%s", code, out)
	}
}

func TestTamperedEvidenceFailsAndSaysWhy(t *testing.T) {
	_, v := attested(t)
	if said, code := v.verdict("--nonce", otherNonce); code != exitFailure || said.OK || said.Grade != attest.None || !strings.Contains(said.Words, "another nonce") {
		t.Errorf("another nonce: %d %+v", code, said)
	}
	whole, err := os.ReadFile(v.file("evidence.json"))
	if err != nil {
		t.Fatal(err)
	}
	v.write("evidence.json", bytes.Replace(whole, []byte(`"kind": "tpm2-certify"`), []byte(`"kind": "pkcs11-reported"`), 1))
	if said, code := v.verdict("--nonce", askedNonce); code != exitFailure || said.OK {
		t.Errorf("another kind: %d %+v", code, said)
	}
	v.write("evidence.json", whole[:len(whole)-20])
	if code, _, errOut := v.command("attest", "verify", v.file("evidence.json"), "--nonce", askedNonce); code != exitFailure || !strings.Contains(errOut, "copy the file again") {
		t.Errorf("cut off: %d %s", code, errOut)
	}
	for _, args := range [][]string{{"--nonce", "00"}, {"--nonce", "xyz"}, {}, {"--nonce", askedNonce, "--require", "gold"}, {"--nonce", askedNonce, "--roots", v.file("evidence.json")}} {
		if code, _, errOut := v.command(append([]string{"attest", "verify", v.file("evidence.json")}, args...)...); code != exitFailure || !strings.Contains(errOut, "do:") {
			t.Errorf("%v: %d %s", args, code, errOut)
		}
	}
}

func TestEvidenceIsNotOverwritten(t *testing.T) {
	d, v := attested(t)
	before, err := os.ReadFile(v.file("evidence.json"))
	if err != nil {
		t.Fatal(err)
	}
	d.refused("exists", "attest", "device-g1", "--nonce", askedNonce, "--out", v.file("evidence.json"))
	if after, err := os.ReadFile(v.file("evidence.json")); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file has changed: %v", err)
	}
	d.refused("not found", "attest", "device-g9", "--nonce", askedNonce)
	d.refused("nonce of 2 bytes", "attest", "--nonce", "0011")
}

func TestDeviceWithoutAnIdentityIsAskedWhichKey(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.append(azure(d.cloud))
	d.must(nil, "key", "create", "mine")
	d.refused("no identity is in force", "attest", "--nonce", askedNonce)
	var e struct {
		Kind string `json:"kind"`
	}
	if d.must(&e, "attest", "mine", "--nonce", askedNonce); e.Kind != "tpm2-certify" {
		t.Errorf("kind %q", e.Kind)
	}
}
