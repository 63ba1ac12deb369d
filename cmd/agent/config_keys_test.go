package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const token = `keys: {pkcs11: "pkcs11:token=gateway?module-path=/usr/lib/libtoken.so"`

func TestWhereKeysLiveIsSaidOnce(t *testing.T) {
	const line = ":5:"
	for _, test := range []struct{ name, text, want string }{
		{"a TPM and a token", token + ", tpm: device:/dev/tpmrm0}",
			"78: keys.tpm: is about a TPM, and contradicts keys.pkcs11 on line 5; keep one of the two"},
		{"a token without its library", `keys: {pkcs11: "pkcs11:token=gateway"}`,
			"16: keys.pkcs11: names no library; add ?module-path=/usr/lib/LIBRARY.so"},
		{"a PIN in the URI", `keys: {pkcs11: "pkcs11:token=gateway?module-path=/m.so&pin-value=1234"}`,
			"16: keys.pkcs11: has the PIN in it, for everyone to read; put the PIN into a file of mode 0600, and write pin-source=file:FILE"},
		{"a PIN without a token", "keys: {pin: /etc/pin}",
			"13: keys.pin: is about a token, and keys.pkcs11 names none; set keys.pkcs11, or remove this line"},
		{"a credential without systemd", token + ", pin: credential:pin}",
			"78: keys.pin: there are no credentials: systemd hands them to the service only; run this as the service does: systemd-run --pty -p LoadCredential=pin:FILE devid-agent …"},
		{"what no TPM has", "keys: {algorithm: rsa-4096}",
			"19: keys.algorithm: no TPM has RSA-4096; write ecdsa-p256, or name a token in keys.pkcs11"},
		{"a handle that is none", `keys: {persistent: "0x80000001"}`,
			"20: keys.persistent: \"0x80000001\" is no persistent handle; write it as \"0x81008000\""},
		{"half a PCR policy", "keys: {pcr: {select: 'sha256:7'}}",
			"8: keys.pcr: incomplete; set select, policy_key and signature, or none of them"},
		{"the same key, from a file", "keys: {policy: same}",
			"16: keys.policy: the same key for all certificates, and bootstrap.key on line 3 is a file; name a key in the hardware: handle:0x81010001, or a pkcs11: URI"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := complaints(t, good+test.text); !slices.Equal(got, []string{line + test.want}) {
				t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), line+test.want)
			}
		})
	}
}

func TestAKeyInTheHardwareIsNoFile(t *testing.T) {
	for _, text := range []string{
		strings.Replace(good, "key: bootstrap.key", "key: 'handle:0x81010001'", 1) + "keys: {policy: same}\n",
		strings.Replace(good, "key: bootstrap.key", "key: 'pkcs11:object=factory'", 1) + token + "}\n",
	} {
		if got := complaints(t, text); got != nil {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestACredentialIsAFileOfSystemds(t *testing.T) {
	t.Setenv("CREDENTIALS_DIRECTORY", "/run/credentials/devid-agent.service")
	dir := etc(t, "gateway-0042")
	c, err := loadConfig(place(t, dir, "agent.yaml", []byte(good+token+", pin: credential:token-pin}\n"), 0o644))
	if want := filepath.Join("/run/credentials/devid-agent.service", "token-pin"); err != nil || c.Keys.PIN != want {
		t.Errorf("pin %v, %v", c, err)
	}
}
