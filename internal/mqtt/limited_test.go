package mqtt

import (
	"crypto/tls"
	"net"
	"testing"

	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
)

// TestAKeyWithoutPSSPresentsItsCertificateOverTLS12 is about RSA keys in chips whose PSS salt no TLS peer accepts: with
// TLS 1.3, crypto/tls would present no certificate, and say nothing.
func TestAKeyWithoutPSSPresentsItsCertificateOverTLS12(t *testing.T) {
	ca := keystest.NewAuthority(t)
	key, err := keystest.Generate(keys.RSA2048)
	if err != nil {
		t.Fatal(err)
	}
	mine := ca.Certify(t, "device", key)
	mine.SupportedSignatureAlgorithms = []tls.SignatureScheme{tls.PKCS1WithSHA256, tls.PKCS1WithSHA384, tls.PKCS1WithSHA512}
	near, far := net.Pipe()
	served := make(chan tls.ConnectionState, 1)
	go func() {
		defer far.Close()
		server := tls.Server(far, &tls.Config{Certificates: []tls.Certificate{ca.Certify(t, "hub", key)}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool})
		_ = server.Handshake()
		served <- server.ConnectionState()
	}()
	client := tls.Client(near, Options{Host: "hub", Roots: ca.Pool, Certificate: mine}.config(&witness{}, &tickets{}))
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if state := <-served; state.Version != tls.VersionTLS12 || len(state.PeerCertificates) == 0 {
		t.Errorf("%s with %d client certificates", tls.VersionName(state.Version), len(state.PeerCertificates))
	}
}
