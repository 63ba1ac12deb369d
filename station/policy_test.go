package station_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"strings"
	"testing"

	"github.com/devid-agent/devid-agent/fault"
)

func TestPolicyRefusesAndSaysWhy(t *testing.T) {
	a := technician(t)
	other, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Sign(request(t, other, nil), 0, ""); err == nil || !strings.Contains(err.Error(), "ecdsa-p521") {
		t.Errorf("a kind of key that is not in the policy: %v", err)
	}
	for want, change := range map[string]func(*x509.CertificateRequest){
		"is not of the form":           named("gateway 1; rm -rf"),
		"the common name \"\"":         named(""),
		"more than a common name":      func(r *x509.CertificateRequest) { r.Subject.Organization = []string{"X"} },
		"a name that is not its":       func(r *x509.CertificateRequest) { r.DNSNames = []string{"contoso.azure-devices.net"} },
		"asks to be an authority":      extension(2, 5, 29, 19, 0x30, 0x03, 0x01, 0x01, 0xff),
		"basic constraints that canno": extension(2, 5, 29, 19, 0x30, 0x03, 0x01),
		"where only client authentica": extension(2, 5, 29, 37, 0x30, 0x0a, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01),
		"asks for the extension 2.5":   extension(2, 5, 29, 30, 0x30, 0x00),
	} {
		if _, err := a.Sign(request(t, newKey(t), change), 0, ""); err == nil || !strings.Contains(err.Error(), want) || fault.Hint(err) == "" {
			t.Errorf("want a refusal because of %q with a remedy, got: %v", want, err)
		}
	}
	if _, err := a.Sign(request(t, newKey(t), nil), 366, ""); err == nil || !strings.Contains(err.Error(), "at most 365") {
		t.Errorf("too long: %v", err)
	}
	if list, err := a.Issued(); err != nil || len(list) != 0 {
		t.Errorf("refused requests left %v, %v", list, err)
	}
}

func extension(a, b, c, d int, value ...byte) func(*x509.CertificateRequest) {
	return func(r *x509.CertificateRequest) {
		r.ExtraExtensions = append(r.ExtraExtensions, ext([]int{a, b, c, d}, value))
	}
}

func TestPolicyTakesWhatDevicesAskFor(t *testing.T) {
	a := technician(t)
	clientAuth := extension(2, 5, 29, 37, 0x30, 0x0a, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02)
	for _, change := range []func(*x509.CertificateRequest){nil, named("gateway-1/module.2"), clientAuth,
		func(r *x509.CertificateRequest) { r.DNSNames = []string{"gateway-1"} }, extension(2, 5, 29, 19, 0x30, 0x00)} {
		if _, err := a.Sign(request(t, newKey(t), change), 30, ""); err != nil {
			t.Error(err)
		}
	}
}
