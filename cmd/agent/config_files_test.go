package main

import (
	"bytes"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestFilesThatTheConfigurationNamesAreLookedAt(t *testing.T) {
	otherChain, otherKey := credential(t, "gateway-0042")
	strangerChain, strangerKey := credential(t, "another-device")
	block, _ := pem.Decode(otherChain)
	for _, test := range []struct {
		name string
		do   func(t *testing.T, dir string)
		want string
	}{
		{"missing", func(t *testing.T, dir string) { _ = os.Remove(filepath.Join(dir, "bootstrap.pem")) },
			":3:26: bootstrap.certificate: bootstrap.pem does not exist; put the file there, or name another"},
		{"directory", func(t *testing.T, dir string) {
			_ = os.Remove(filepath.Join(dir, "bootstrap.key"))
			_ = os.Mkdir(filepath.Join(dir, "bootstrap.key"), 0o700)
		}, ":3:46: bootstrap.key: bootstrap.key is a directory; name the file in it"},
		{"pipe", func(t *testing.T, dir string) {
			_ = os.Remove(filepath.Join(dir, "bootstrap.key"))
			_ = syscall.Mkfifo(filepath.Join(dir, "bootstrap.key"), 0o600)
		}, ":3:46: bootstrap.key: bootstrap.key: no file of certificates or keys; name a readable file"},
		{"empty", func(t *testing.T, dir string) { place(t, dir, "bootstrap.pem", nil, 0o644) },
			":3:26: bootstrap.certificate: bootstrap.pem is empty; put the PEM text there"},
		{"no PEM", func(t *testing.T, dir string) { place(t, dir, "bootstrap.pem", []byte("hello"), 0o644) },
			":3:26: bootstrap.certificate: no certificate in bootstrap.pem; put the chain there as PEM, leaf first"},
		{"DER", func(t *testing.T, dir string) { place(t, dir, "bootstrap.pem", block.Bytes, 0o644) },
			":3:26: bootstrap.certificate: bootstrap.pem is DER, not PEM; convert it: openssl x509 -inform der -in bootstrap.pem -out FILE.pem"},
		{"key for certificate", func(t *testing.T, dir string) { place(t, dir, "bootstrap.pem", otherKey, 0o600) },
			":3:26: bootstrap.certificate: a private key in bootstrap.pem, where certificates belong; name the file of the certificate"},
		{"certificate for key", func(t *testing.T, dir string) { place(t, dir, "bootstrap.key", otherChain, 0o600) },
			":3:46: bootstrap.key: no private key in bootstrap.key; put it there as PEM: PRIVATE KEY, EC PRIVATE KEY, RSA PRIVATE KEY or TSS2 PRIVATE KEY"},
		{"open to everyone", func(t *testing.T, dir string) { _ = os.Chmod(filepath.Join(dir, "bootstrap.key"), 0o644) },
			":3:46: bootstrap.key: bootstrap.key is open to everyone (mode 0644); close it: chmod 0600 bootstrap.key"},
		{"passphrase", func(t *testing.T, dir string) {
			place(t, dir, "bootstrap.key", pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{1}}), 0o600)
		}, ":3:46: bootstrap.key: the key in bootstrap.key is behind a passphrase, and nobody is there to type it; decrypt it, or better, put the key into the TPM"},
		{"damaged key", func(t *testing.T, dir string) {
			place(t, dir, "bootstrap.key", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte{1}}), 0o600)
		}, ":3:46: bootstrap.key: the key in bootstrap.key is not understood; export it again as PKCS#8: openssl pkcs8 -topk8 -nocrypt"},
		{"two pairs", func(t *testing.T, dir string) { place(t, dir, "bootstrap.key", otherKey, 0o600) },
			":3:26: bootstrap.certificate: the first certificate is for another key than bootstrap.key on line 3; put the pair there that was made together"},
		{"leaf not first", func(t *testing.T, dir string) {
			place(t, dir, "bootstrap.pem", append(slices.Clone(strangerChain), otherChain...), 0o644)
			place(t, dir, "bootstrap.key", otherKey, 0o600)
		}, ":3:26: bootstrap.certificate: the leaf is number 2 in the file; put the leaf first, then the certificate that signed it"},
		{"another device", func(t *testing.T, dir string) {
			place(t, dir, "bootstrap.pem", strangerChain, 0o644)
			place(t, dir, "bootstrap.key", strangerKey, 0o600)
		}, `:3:26: bootstrap.certificate: the certificate is for "another-device", and device.id on line 2 is "gateway-0042"; write the name of the certificate into device.id, or ask for a certificate for this device`},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := etc(t, "gateway-0042")
			test.do(t, dir)
			if got := complaintsIn(t, dir, good); !slices.Equal(got, []string{test.want}) {
				t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), test.want)
			}
		})
	}
}

func TestKeyInTheTPMIsNoSecret(t *testing.T) {
	dir := etc(t, "gateway-0042")
	place(t, dir, "bootstrap.key", pem.EncodeToMemory(&pem.Block{Type: "TSS2 PRIVATE KEY", Bytes: []byte{0x30, 0}}), 0o644)
	if got := complaintsIn(t, dir, good); got != nil {
		t.Errorf("a TSS2 key is refused: %v", got)
	}
}

func TestSecretThatWasPastedIsNotRepeated(t *testing.T) {
	_, key := credential(t, "gateway-0042")
	text := strings.Replace(good, "key: bootstrap.key}", "key: "+strings.ReplaceAll(string(key), "\n", " ")+"}", 1)
	text += "hub: {stall: " + string(bytes.ReplaceAll(key, []byte("\n"), []byte(" "))) + ", token: hunter2}\n"
	secret := string(key[28:38]) // what would show first
	got := strings.Join(complaints(t, text), "\n")
	if strings.Contains(got, secret) || strings.Contains(got, "hunter2") || !strings.Contains(got, "the content of a file where its name belongs") {
		t.Errorf("complaints:\n%s", got)
	}
}
