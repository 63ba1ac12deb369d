package main

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/devid-agent/devid-agent/attest"
	"github.com/devid-agent/devid-agent/hsm/hsmtest"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/sim"
)

// must runs a command that has to succeed, and decodes what it says into v unless that is nil.
func (d *desk) must(v any, args ...string) string {
	d.t.Helper()
	code, out, errOut := d.command(args...)
	if code != 0 {
		d.t.Fatalf("%v: %d %s%s", args, code, out, errOut)
	}
	if v != nil {
		if err := json.Unmarshal([]byte(out), v); err != nil {
			d.t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	return out
}

// refused runs a command that has to fail, and to say why.
func (d *desk) refused(why string, args ...string) {
	d.t.Helper()
	if code, out, errOut := d.command(args...); code != exitFailure || !strings.Contains(errOut, why) {
		d.t.Errorf("%v: %d, want a refusal because of %q\n%s%s", args, code, why, out, errOut)
	}
}

// names are the keys as key list has them.
func (d *desk) names() map[string]string {
	d.t.Helper()
	var lines []keyLine
	d.must(&lines, "key", "list", "--json")
	uses := map[string]string{}
	for _, l := range lines {
		uses[l.Name] = l.Use
	}
	return uses
}

// public is the public half of a key, as key show has it.
func (d *desk) public(name string) any {
	d.t.Helper()
	var v keyView
	d.must(&v, "key", "show", name, "--json")
	block, _ := pem.Decode([]byte(v.PublicKey))
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		d.t.Fatal(err)
	}
	return key
}

func TestKeyTestProvesTheHardwareAndLeavesNothing(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.append(azure(d.cloud))
	for algorithm, steps := range map[keys.Algorithm]int{keys.ECDSAP256: 5, keys.ECDSAP384: 5, keys.RSA2048: 7} {
		var got trial
		d.must(&got, "key", "test", "--json", "--algorithm", string(algorithm))
		if !got.OK || got.Algorithm != string(algorithm) || len(got.Steps) != steps || !strings.Contains(got.Place, "TPM 2.0") {
			t.Errorf("%s: %+v", algorithm, got)
		}
		for _, s := range got.Steps {
			if !s.OK || s.MS <= 0 {
				t.Errorf("%s: %+v", algorithm, s)
			}
		}
	}
	out := d.must(nil, "key", "test")
	for _, want := range []string{"ok    create ecdsa-p256", "ok    sign ECDSA", "ok    verify ECDSA", "refused: TPM2_Duplicate", "ok    delete"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	if names := d.names(); len(names) != 0 || d.tpm.Handles() != 0 {
		t.Errorf("keys %v and %d objects are left", names, d.tpm.Handles())
	}
}

func TestKeyTestSaysWhatIsBroken(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.append(azure(d.cloud))
	d.tpm.Kill()
	code, out, errOut := d.command("key", "test", "--json")
	var got trial
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != exitFailure || got.OK || got.Trouble == nil || !strings.Contains(got.Trouble.Error, "tpm") {
		t.Errorf("%d, %v: %s%s", code, err, out, errOut)
	}
	if code, out, _ := d.command("key", "test"); code != exitFailure || !strings.Contains(out, "FAIL  create") {
		t.Errorf("%d: %s", code, out)
	}
	d.refused("unknown key algorithm", "key", "test", "--algorithm", "dsa")
}

func TestKeyOfOnesOwnIsMadeShownAndDestroyed(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.append(azure(d.cloud))
	d.must(nil, "key", "create", "mine", "--algorithm", "ecdsa-p384")
	d.refused("exists already", "key", "create", "mine")
	d.refused("the agent's own", "key", "create", "device-g7")
	if uses := d.names(); len(uses) != 1 || uses["mine"] != useNone {
		t.Errorf("keys: %v", uses)
	}
	var v keyView
	d.must(&v, "key", "show", "mine", "--json")
	block, _ := pem.Decode([]byte(v.PublicKey))
	if block == nil {
		t.Fatalf("no public key: %+v", v)
	}
	if sum := sha256.Sum256(block.Bytes); v.SHA256 != hex.EncodeToString(sum[:]) || v.Algorithm != "ecdsa-p384" || !v.Refused || len(v.Attributes) < 5 {
		t.Errorf("key show: %+v", v)
	}
	if out := d.must(nil, "key", "show", "mine"); !strings.Contains(out, "fixedTPM") || !strings.Contains(out, v.SHA256) || !strings.Contains(out, v.PublicKey) {
		t.Errorf("key show:\n%s", out)
	}
	d.must(nil, "key", "delete", "mine")
	d.refused("not found", "key", "show", "mine")
	code, out, _ := d.command("key", "show", "mine", "--json")
	var said outcome
	if err := json.Unmarshal([]byte(out), &said); err != nil || code != exitFailure || said.Trouble == nil || !strings.Contains(said.Trouble.Hint, "key list") {
		t.Errorf("key show --json of nothing: %d, %v: %s", code, err, out)
	}
	d.refused("not found", "key", "delete", "mine")
}

func TestKeyThatTheDeviceNeedsIsNotDeleted(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.append(azure(d.cloud))
	d.must(nil, "enroll")
	if uses := d.names(); uses["device-g1"] != useCurrent {
		t.Errorf("uses: %v", uses)
	}
	d.refused("it is needed: the identity in force", "key", "delete", "device-g1")
	if d.names()["device-g1"] == "" {
		t.Error("it is gone")
	}

	d.must(nil, "key", "create", "born")
	d.replace("key: bootstrap.key", "key: state/keys/born.tss2.pem")
	d.refused("it is needed: the bootstrap credential", "key", "delete", "born")
	d.must(nil, "key", "create", "other")
	d.certify(d.public("other")) // wherever the configuration says that its key lies
	d.refused("it is needed: the bootstrap credential", "key", "delete", "other")
	if uses := d.names(); uses["other"] != useBootstrap || uses["born"] != useBootstrap {
		t.Errorf("uses: %v", uses)
	}
	d.tpm.Kill()
	d.refused("nobody knows whether it is needed", "key", "delete", "other")
	d.tpm.Restart()

	if err := os.WriteFile(filepath.Join(d.dir, "state", "identity", "current.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.refused("nobody knows whether an identity needs it", "key", "delete", "device-g1")
}

func TestKeyCommandsWorkBesideARunningAgent(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.append(azure(d.cloud))
	d.must(nil, "enroll")
	stop := d.run()
	d.until("the agent is online", func() bool { s := d.status(); return s.Hub != nil && s.Hub.State == "online" })
	// A key that an interrupted renewal left: the agent may be about to use it.
	d.must(nil, "key", "create", "spare")
	if err := os.Rename(filepath.Join(d.dir, "state", "keys", "spare.tss2.pem"), filepath.Join(d.dir, "state", "keys", "device-g2.tss2.pem")); err != nil {
		t.Fatal(err)
	}
	d.must(nil, "key", "test")
	var made keyView
	if d.must(&made, "key", "create", "large", "--algorithm", "ecdsa-p384", "--json"); made.Algorithm != "ecdsa-p384" {
		t.Errorf("made a key of %s", made.Algorithm)
	}
	d.must(nil, "key", "delete", "large")
	d.must(nil, "key", "create", "mine")
	d.must(nil, "key", "delete", "mine")
	d.refused("it is needed", "key", "delete", "device-g1")
	d.refused("the running agent may be about to use it", "key", "delete", "device-g2")
	var s speed
	d.must(&s, "key", "bench", "device-g1", "--for", "100ms", "--json")
	if s.Signatures == 0 || s.P50MS <= 0 || s.P95MS < s.P50MS || s.MaxMS < s.P95MS {
		t.Errorf("key bench: %+v", s)
	}
	stop()
	d.must(nil, "key", "delete", "device-g2")
	if out := d.must(nil, "key", "bench", "--for", "100ms"); !strings.Contains(out, "p50") || len(d.names()) != 1 {
		t.Errorf("key bench: %s, and then %v", out, d.names())
	}
}

func TestArgumentsAreCountedAndFlagsGoAnywhere(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.append(azure(d.cloud))
	for _, args := range [][]string{{"key", "show"}, {"key", "show", "a", "b"}, {"key"}, {"status", "now"}, {"attest", "verify"}, {"key", "list", "--nonce", "00"}} {
		if code, _, errOut := d.command(args...); code != exitUsage || !strings.Contains(errOut, "usage: devid-agent") && !strings.Contains(errOut, "-nonce") {
			t.Errorf("%v: %d\n%s", args, code, errOut)
		}
	}
	d.must(nil, "key", "create", "--algorithm", "ecdsa-p256", "mine")
	d.must(nil, "key", "delete", "--json", "mine")
}

func TestKeyCommandsWorkWithAToken(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.append(azure(d.cloud))
	token := hsmtest.Start(t)
	d.onToken(token, "")
	var got trial
	if d.must(&got, "key", "test", "--json"); !got.OK || len(got.Steps) != 5 || !strings.Contains(got.Place, "token") {
		t.Errorf("key test: %+v", got)
	}
	d.must(nil, "key", "create", "factory")
	d.certify(d.public("factory"))
	d.replace("key: bootstrap.key", `key: "pkcs11:object=devid-agent:factory"`)
	if uses := d.names(); len(uses) != 1 || uses["factory"] != useBootstrap {
		t.Errorf("uses: %v", uses)
	}
	d.refused("it is needed: the bootstrap credential", "key", "delete", "factory")
	d.must(nil, "key", "bench", "--for", "100ms")

	v := &verifier{t: t, dir: t.TempDir()}
	d.must(nil, "attest", "factory", "--nonce", askedNonce, "--out", v.file("evidence.json"))
	if said, code := v.verdict("--nonce", askedNonce); code != 0 || said.Grade != attest.Reported || !strings.Contains(said.Words, "as reported by the PKCS#11 module") {
		t.Errorf("attest verify: %d %+v", code, said)
	}
	if said, code := v.verdict("--nonce", askedNonce, "--require", "tpm-unproven"); code == 0 || said.OK {
		t.Errorf("a better grade is required: %d %+v", code, said)
	}
}
