package tpm_test

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/tpm/tpmtest"
)

// TestTPM2ToolsTakeTheSameParts holds the service of these tests against somebody else's idea of it.
func TestTPM2ToolsTakeTheSameParts(t *testing.T) {
	if _, err := exec.LookPath("tpm2_import"); err != nil {
		missing(t, "apt-get install tpm2-tools")
	}
	p := tpmtest.Start(t)
	dir := t.TempDir()
	run(t, p, dir, "tpm2_createek", "-Q", "-G", "rsa", "-c", "0x81010001", "-u", "ek.pub")
	run(t, p, dir, "tpm2_createprimary", "-Q", "-C", "o", "-G", "rsa", "-c", "srk.ctx",
		"-a", "restricted|decrypt|fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda")
	run(t, p, dir, "tpm2_evictcontrol", "-Q", "-C", "o", "-c", "srk.ctx", "0x81000001")
	run(t, p, dir, "tpm2_flushcontext", "-t")
	s, cloud := store(t, p), newService()
	ek, srk := endorsement(t, s)
	if !bytes.Equal(ek, read(t, filepath.Join(dir, "ek.pub"))) {
		t.Error("tpm2_createek makes another endorsement key")
	}
	parts := cloud.parts(t, ek, srk)
	for name, content := range map[string][]byte{"duplicate": parts[2], "seed": parts[3], "public": parts[4], "data": sasText,
		"credential": slices.Concat([]byte{0xBA, 0xDC, 0xC0, 0xDE, 0, 0, 0, 1}, parts[0], parts[1])} {
		write(t, filepath.Join(dir, name), content)
	}
	run(t, p, dir, "tpm2_startauthsession", "--policy-session", "-S", "session")
	run(t, p, dir, "tpm2_policysecret", "-Q", "-S", "session", "-c", "e")
	run(t, p, dir, "tpm2_activatecredential", "-Q", "-c", "0x81000001", "-C", "0x81010001", "-i", "credential", "-o", "inner", "-P", "session:session")
	run(t, p, dir, "tpm2_flushcontext", "session")
	if !bytes.Equal(read(t, filepath.Join(dir, "inner")), cloud.wrap) {
		t.Error("tpm2_activatecredential reads another key")
	}
	run(t, p, dir, "tpm2_import", "-Q", "-C", "0x81000001", "-G", "hmac", "-i", "duplicate", "-s", "seed", "-u", "public", "-k", "inner", "-r", "private")
	run(t, p, dir, "tpm2_load", "-Q", "-C", "0x81000001", "-u", "public", "-r", "private", "-c", "key.ctx")
	run(t, p, dir, "tpm2_hmac", "-c", "key.ctx", "-o", "sum", "data")
	if !bytes.Equal(read(t, filepath.Join(dir, "sum")), cloud.sum(sasText)) {
		t.Error("tpm2_hmac makes another HMAC")
	}
	run(t, p, dir, "tpm2_flushcontext", "-t")
	if err := s.Activate(t.Context(), registration, slices.Concat(parts...)); err != nil {
		t.Fatal(err)
	}
	wantSum(t, s, cloud, sasText)
}

func TestTamperedAuthenticationKeysAreRefusedAndTheKeyBeforeStays(t *testing.T) {
	p := tpmtest.Start(t)
	s := store(t, p)
	cloud := activate(t, s)
	ek, srk := endorsement(t, s)
	other := store(t, tpmtest.Start(t))
	otherEK, otherSRK := endorsement(t, other)
	bad := map[string][]byte{
		"empty":                      nil,
		"an error page":              []byte("<html>not a key</html>"),
		"another chip's":             newService().blob(t, otherEK, otherSRK),
		"another endorsement key":    newService().blob(t, otherEK, srk),
		"another storage root key":   newService().blob(t, ek, otherSRK),
		"key that signs differently": bytes.Replace(newService().blob(t, ek, srk), []byte{0, 5, 0, 0x0B}, []byte{0, 5, 0, 0x0C}, 1),
	}
	names := []string{"credential", "secret", "duplicate", "seed", "public"}
	for i, name := range names {
		parts := newService().parts(t, ek, srk)
		parts[i][len(parts[i])-1] ^= 1
		bad[name+" changed"] = slices.Concat(parts...)
		bad["cut in "+name] = slices.Concat(append(parts[:i:i], parts[i][:len(parts[i])-1])...)
	}
	for name, blob := range bad {
		err := s.Activate(t.Context(), registration, blob)
		if fault.Of(err) != fault.Permanent {
			t.Errorf("%s: %v (%v)", name, err, fault.Of(err))
		}
		wantEmpty(t, p, name)
		wantNoSessions(t, p)
	}
	wantSum(t, s, cloud, sasText)
	if n := p.Tries(); n != 0 {
		t.Errorf("%d wrong passwords counted", n)
	}
}
