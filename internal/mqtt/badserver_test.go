package mqtt

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

// misbehaviour is a server, or what is between it and us, and what is to be said about it.
type misbehaviour struct {
	prepare func(t *testing.T, w *world)
	kind    fault.Kind
	words   string // in error or hint
}

func shows(name string, from time.Duration) func(*testing.T, *world) {
	return func(t *testing.T, w *world) {
		w.server.Certificates = []tls.Certificate{w.ca.issue(t, name, time.Now().Add(from))}
	}
}

// truncated is a server that keeps its intermediate certificate to itself.
func truncated(t *testing.T, w *world) {
	middle := newKey(t)
	ca := w.ca.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "middle"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}, middle)
	key := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(7), DNSNames: []string{"hub.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}, ca, key.Public(), middle)
	if err != nil {
		t.Fatal(err)
	}
	w.server.Certificates = []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
}

// raw is a server that does not speak TLS as it should.
func raw(speak func(c net.Conn)) func(*testing.T, *world) {
	return func(t *testing.T, w *world) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() { defer c.Close(); speak(c) }()
			}
		}()
		w.Options.Dial, w.Address = nil, l.Addr().String()
	}
}

// hello is a ServerHello of TLS 1.1, as a server sends it that has never heard of the supported_versions extension.
func hello(c net.Conn) {
	c.Read(make([]byte, 16<<10))
	body := append([]byte{3, 2}, make([]byte, 32)...) // version, random
	body = append(body, 0, 0, 0x2f, 0)                // no session, RSA_WITH_AES_128_CBC_SHA, no compression
	message := append([]byte{2, 0, 0, byte(len(body))}, body...)
	c.Write(append([]byte{22, 3, 2, 0, byte(len(message))}, message...))
	io.Copy(io.Discard, c)
}

func reset(c net.Conn) {
	c.Read(make([]byte, 100))
	c.(*net.TCPConn).SetLinger(0)
}

var misbehaviours = map[string]misbehaviour{
	"expired":                {shows("hub.test", -48*time.Hour), fault.Operator, "has expired and its owner must renew"},
	"of tomorrow":            {shows("hub.test", time.Hour), fault.Transient, "set the clock"},
	"for another name":       {shows("other.test", -time.Hour), fault.Operator, "hub.test, the server's certificate is for [other.test]"},
	"unknown CA":             {func(t *testing.T, w *world) { w.Roots = newAuthority(t, "somebody").pool() }, fault.Operator, "put the root of the server's certificate into"},
	"missing intermediate":   {truncated, fault.Operator, `without the intermediate "CN=middle"`},
	"TLS 1.1, by alert":      {old, fault.Operator, "no TLS from 1.2 on"},
	"TLS 1.1, by its hello":  {raw(hello), fault.Operator, "no TLS from 1.2 on"},
	"plain MQTT":             {raw(func(c net.Conn) { c.Read(make([]byte, 100)); c.Write([]byte{connack << 4, 2, 0, 5, 0}) }), fault.Operator, "does not speak TLS"},
	"plain HTTP":             {raw(func(c net.Conn) { io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") }), fault.Operator, "does not speak TLS"},
	"hangs in the handshake": {raw(func(c net.Conn) { io.Copy(io.Discard, c) }), fault.Transient, "deadline"},
	"drips in the handshake": {raw(drip), fault.Transient, "deadline"},
	"hangs up":               {raw(func(c net.Conn) { c.Read(make([]byte, 100)) }), fault.Transient, ""},
	"resets":                 {raw(reset), fault.Transient, "reset"},
}

func old(t *testing.T, w *world) {
	w.server.MinVersion, w.server.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	w.listen(t, func(c net.Conn) { _ = c.(*tls.Conn).Handshake() })
}

// drip is the beginning of a handshake record whose end never comes.
func drip(c net.Conn) {
	_, err := c.Write([]byte{22, 3, 3, 0x40, 0})
	for ; err == nil; _, err = c.Write([]byte{2}) {
		time.Sleep(20 * time.Millisecond)
	}
}

func TestServersThatBehaveBadlyInTLSAreRefusedInWordsThatNameTheCause(t *testing.T) {
	for name, m := range misbehaviours {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(p *peer) { t.Error("the handshake was done") })
			w.listen(t, func(c net.Conn) { _ = c.(*tls.Conn).Handshake() })
			m.prepare(t, w)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			_, err := Dial(ctx, w.Options)
			if err == nil {
				t.Fatal("connected")
			}
			if text := err.Error() + " | " + fault.Hint(err); fault.Of(err) != m.kind || !strings.Contains(text, m.words) {
				t.Errorf("%v: %s", fault.Of(err), text)
			}
		})
	}
}
