package sim_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

// tools are tpm2-tools with a TPM of their own.
type tools struct {
	t         *testing.T
	dir, tcti string
}

// newTools starts a blank TPM, for as long as the test.
func newTools(t *testing.T) *tools {
	t.Helper()
	for _, program := range []string{"swtpm", "tpm2_import"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("install swtpm and tpm2-tools")
		}
	}
	dir, err := os.MkdirTemp("", "sim") // the path of a socket has room for 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "tpm")
	cmd := exec.CommandContext(t.Context(), "swtpm", "socket", "--tpm2", "--tpmstate", "dir="+dir, "--server", "type=unixio,path="+socket,
		"--ctrl", "type=unixio,path="+socket+".ctrl", "--flags", "not-need-init,startup-clear")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for t.Context().Err() == nil {
		if c, err := net.Dial("unix", socket+".ctrl"); err == nil { // the only sign that swtpm gives
			c.Close()
			break
		}
		runtime.Gosched()
	}
	return &tools{t, dir, "swtpm:path=" + socket}
}

// run runs one tool, and frees what it has left in the TPM.
func (s *tools) run(name string, args ...string) {
	s.t.Helper()
	for _, c := range [][]string{append([]string{name, "-Q"}, args...), {"tpm2_flushcontext", "-t"}} {
		cmd := exec.CommandContext(s.t.Context(), c[0], c[1:]...)
		cmd.Dir, cmd.Env = s.dir, append(os.Environ(), "TPM2TOOLS_TCTI="+s.tcti)
		if out, err := cmd.CombinedOutput(); err != nil {
			s.t.Fatalf("%s: %v: %s", strings.Join(c, " "), err, out)
		}
	}
}

func (s *tools) write(name string, parts ...[]byte) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), bytes.Join(parts, nil), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *tools) read(name string) []byte {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

// activate does with a blob what "TPM attestation" asks of a device, and leaves the key in key.ctx.
func (s *tools) activate(blob []byte, algorithm string) {
	s.t.Helper()
	f := &cut{s.t, blob}
	credential, secret, duplicate, seed, public := f.next(), f.next(), f.next(), f.next(), f.next()
	s.write("credential", binary.BigEndian.AppendUint32(nil, 0xbadcc0de), []byte{0, 0, 0, 1}, tpm2b(credential), tpm2b(secret))
	s.write("duplicate", tpm2b(duplicate))
	s.write("seed", tpm2b(seed))
	s.write("public", tpm2b(public))
	s.run("tpm2_startauthsession", "--policy-session", "-S", "session.ctx")
	s.run("tpm2_policysecret", "-S", "session.ctx", "-c", "e")
	s.run("tpm2_activatecredential", "-c", "0x81000001", "-C", "0x81010001", "-i", "credential", "-o", "inner", "-P", "session:session.ctx")
	s.run("tpm2_flushcontext", "session.ctx")
	s.run("tpm2_import", "-C", "0x81000001", "-i", "duplicate", "-s", "seed", "-u", "public", "-k", "inner", "-r", "private", "-G", algorithm)
	s.run("tpm2_load", "-C", "0x81000001", "-u", "public", "-r", "private", "-c", "key.ctx")
}

// What the DPS says to a TPM is opened here by a TPM, and its key signs there.
func TestARealTPMOpensWhatTheDPSSays(t *testing.T) {
	for _, kind := range []string{"rsa", "ecc"} {
		s := newTools(t)
		s.run("tpm2_createek", "-c", "0x81010001", "-G", kind, "-u", "ek.pem")
		s.run("tpm2_createprimary", "-C", "o", "-g", "sha256", "-G", kind, "-c", "srk.ctx", "-a",
			"fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt")
		s.run("tpm2_evictcontrol", "-C", "o", "-c", "srk.ctx", "0x81000001")
		s.run("tpm2_readpublic", "-c", "0x81010001", "-f", "tss", "-o", "ek.pub")
		s.run("tpm2_readpublic", "-c", "0x81000001", "-f", "tss", "-o", "srk.pub")
		cloud, err := sim.New(sim.Temper{}, fastKey) // in real time: the TPM has no other
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cloud.Close() })
		chip := &chip{t, &chipKey{public: s.read("ek.pub")}, &chipKey{public: s.read("srk.pub")}}
		cloud.Enroll(sim.Enrollment{Registration: "d", EndorsementKey: chip.ek.public})
		b, path := browse(t, cloud, sim.DPSHost, credential{}), "/"+sim.IDScope+"/registrations/d/register?api-version=2019-03-31"
		var ask struct{ AuthenticationKey []byte }
		b.want(401, "PUT", path, chip.body("d", "")).into(t, &ask)
		s.activate(ask.AuthenticationKey, "hmac")
		text := fmt.Sprintf("%s%%2Fregistrations%%2Fd\n%d", sim.IDScope, time.Now().Add(time.Hour).Unix())
		s.write("text", []byte(text))
		s.run("tpm2_hmac", "-c", "key.ctx", "-o", "signature", "text")
		resource, stamp, _ := strings.Cut(text, "\n")
		signed := b.with("Authorization", fmt.Sprintf("SharedAccessSignature sr=%s&sig=%s&skn=registration&se=%s", resource, url.QueryEscape(encode64(s.read("signature"))), stamp))
		signed.want(202, "PUT", path, `{"registrationId":"d"}`)
	}
}
