package est

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/devid-agent/devid-agent/internal/web"
	"github.com/devid-agent/devid-agent/sim"
)

// certificates are some that a CA made, as PEM too.
func certificates(t testing.TB) (all []*x509.Certificate, text []byte) {
	t.Helper()
	cloud, err := sim.New(sim.Temper{}, func(p *sim.Policy) { p.ECDSAServer = true })
	if err != nil {
		t.Fatal(err)
	}
	defer cloud.Close()
	all = append(cloud.ESTRoots(), cloud.FactoryCA())
	for _, x := range all {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: x.Raw})...)
	}
	return all, text
}

// byOpenSSL is what openssl makes of the certificates.
func byOpenSSL(t testing.TB, text []byte, arguments ...string) []byte {
	t.Helper()
	program, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("install openssl")
	}
	file := filepath.Join(t.TempDir(), "certs.pem")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(program, append([]string{"crl2pkcs7", "-nocrl", "-certfile", file}, arguments...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestWhatOpenSSLWritesIsRead(t *testing.T) {
	all, text := certificates(t)
	for name, body := range map[string][]byte{
		"PEM":    byOpenSSL(t, text),
		"DER":    byOpenSSL(t, text, "-outform", "DER"),
		"base64": stripArmour(byOpenSSL(t, text)),
	} {
		der, err := decode(body)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := parseCertsOnly(der)
		if err != nil || !slices.EqualFunc(got, all, (*x509.Certificate).Equal) {
			t.Errorf("%s: %d certificates, %v", name, len(got), err)
		}
	}
}

func stripArmour(b []byte) []byte {
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	return bytes.Join(lines[1:len(lines)-1], []byte("\r\n"))
}

func TestEveryTruncationIsAnErrorAndNoByteMoreIsAccepted(t *testing.T) {
	_, text := certificates(t)
	whole := byOpenSSL(t, text, "-outform", "DER")
	for n := range whole {
		if certs, err := parseCertsOnly(whole[:n]); err == nil {
			t.Fatalf("%d of %d bytes give %d certificates", n, len(whole), len(certs))
		}
	}
	if _, err := parseCertsOnly(append(slices.Clone(whole), 0)); err == nil {
		t.Error("a byte behind the end is accepted")
	}
}

func TestBodiesThatAreNotWhatTheyShouldBe(t *testing.T) {
	for name, body := range map[string]string{
		"empty": "", "spaces": " \r\n ", "not base64": "M*==", "PEM of something else": "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n",
		"broken PEM": "-----BEGIN PKCS7-----\nMA", "padding inside": "MA==MA==",
	} {
		if der, err := decode([]byte(body)); err == nil {
			t.Errorf("%s: %x", name, der)
		}
	}
	for name, der := range map[string][]byte{
		"nothing": nil, "one byte": {0x30}, "not signed data": {0x30, 0x05, 0x06, 0x03, 0x2a, 0x03, 0x04},
		"long tag": {0x3f, 0x81, 0x01, 0x00}, "length of five bytes": {0x30, 0x85, 1, 1, 1, 1, 1}, "length of all": {0x30, 0x84, 0xff, 0xff, 0xff, 0xff},
		"nested for ever": bytes.Repeat([]byte{0x30, 0x80}, 10000), "primitive of indefinite length": {0x04, 0x80, 0, 0},
	} {
		if certs, err := parseCertsOnly(der); err == nil {
			t.Errorf("%s: %d certificates", name, len(certs))
		}
	}
	if _, err := parseCertsOnly(bytes.Repeat([]byte{0x30, 0x80}, 10000)); !errors.Is(err, errDeep) {
		t.Errorf("nested for ever: %v", err)
	}
}

func FuzzAnswer(f *testing.F) {
	_, text := certificates(f)
	for _, seed := range [][]byte{byOpenSSL(f, text), byOpenSSL(f, text, "-outform", "DER"), stripArmour(byOpenSSL(f, text)),
		[]byte("<html>"), {}, []byte("MAA="), bytes.Repeat([]byte{0x30, 0x80}, 40)} {
		f.Add(seed, "application/pkcs7-mime; smime-type=certs-only")
	}
	f.Add([]byte("{}"), "text/html")
	f.Fuzz(func(t *testing.T, body []byte, contentType string) {
		a := &answer{&web.Answer{Status: 200, Header: http.Header{"Content-Type": {contentType}}, Body: body}, "x"}
		if certs, err := a.certificates(); err == nil && (len(certs) == 0 || len(certs) > maxCertificates) {
			t.Errorf("%d certificates", len(certs))
		}
		a.wishes()
	})
}

func FuzzCertsOnly(f *testing.F) {
	_, text := certificates(f)
	f.Add(byOpenSSL(f, text, "-outform", "DER"))
	f.Add([]byte{0x30, 0x80, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02, 0xa0, 0x80, 0x30, 0x80, 0x02, 0x01, 0x01, 0x31, 0, 0x30, 0, 0xa0, 0x80, 0, 0})
	f.Fuzz(func(t *testing.T, message []byte) {
		certs, err := parseCertsOnly(message)
		if (err == nil) == (len(certs) == 0) {
			t.Errorf("%d certificates, %v", len(certs), err)
		}
		for _, x := range certs {
			if !bytes.Contains(message, x.Raw) {
				t.Error("a certificate that is not in the message")
			}
		}
	})
}

func FuzzWishes(f *testing.F) {
	for _, s := range []string{"MAA=", "MB4wEgYHKoZIzj0CATEHBgUrgQQAIgYIKoZIzj0EAwM=", "MEEGCSqGSIb3DQEJBzASBgcqhkjOPQIBMQcGBSuBBAAiMBYGCSqGSIb3DQEJDjEJBgcrBgEBAQEWBggqhkjOPQQDAw=="} {
		der, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		w, err := parseWishes(der)
		if err != nil && len(w.algorithms)+len(w.keys)+len(w.extensions)+len(w.others) > 0 {
			t.Errorf("an error, and %+v", w)
		}
	})
}

func TestWishesOfTheRFCsExampleAreRead(t *testing.T) {
	// RFC 7030, 4.5.2: challengePassword, ecPublicKey on secp384r1, an extension request without values, ecdsa-with-SHA384.
	der, err := base64.StdEncoding.DecodeString("MEEGCSqGSIb3DQEJBzASBgcqhkjOPQIBMQcGBSuBBAAiMBYGCSqGSIb3DQEJDjEJBgcrBgEBAQEWBggqhkjOPQQDAw==")
	if err != nil {
		t.Fatal(err)
	}
	w, err := parseWishes(der)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(w.keys, []string{"ECDSA P-384"}) || !slices.Equal(w.algorithms, []x509.SignatureAlgorithm{x509.ECDSAWithSHA384}) ||
		len(w.others) != 1 || len(w.extensions) != 0 {
		t.Errorf("%+v", w)
	}
}
