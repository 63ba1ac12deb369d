package iothub

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/mqtt"
	"github.com/devid-agent/devid-agent/internal/mtls"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
)

// selfMade is a software key whose PEM a broker can read.
func selfMade(t *testing.T, ca *keystest.Authority, name string) tls.Certificate {
	t.Helper()
	key, err := keystest.Generate(keys.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	return ca.Certify(t, name, key)
}

// mosquitto starts Debian's broker with mutual TLS, where a device may use its own topics only.
func mosquitto(t *testing.T, ca *keystest.Authority) (address string) {
	t.Helper()
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		program = "/usr/sbin/mosquitto"
		if _, err := os.Stat(program); err != nil {
			t.Skip("install mosquitto")
		}
	}
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	server := selfMade(t, ca, "localhost")
	key, err := x509.MarshalPKCS8PrivateKey(server.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(address)
	config := []string{
		"listener " + port + " 127.0.0.1", "cafile " + file("ca"), "certfile " + file("cert"), "keyfile " + file("key"),
		"require_certificate true", "use_identity_as_username true", "allow_anonymous false", "acl_file " + file("acl"),
	}
	if os.Geteuid() == 0 {
		config = append(config, "user root")
	}
	for name, text := range map[string][]byte{
		"ca":   pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Certificate.Raw}),
		"cert": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Leaf.Raw}),
		"key":  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		"acl":  []byte("user " + device + "\ntopic write devices/" + device + "/#\nuser listener\ntopic read devices/#\n"),
		"conf": []byte(strings.Join(config, "\n") + "\n"),
	} {
		if err := os.WriteFile(file(name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	broker := exec.Command(program, "-c", file("conf"))
	if err := broker.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = broker.Process.Kill(); _ = broker.Wait() })
	for range 500 {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return address
		}
		<-time.After(20 * time.Millisecond)
	}
	t.Fatal("mosquitto does not listen")
	return ""
}

func TestReadingsArriveInOrderAtMosquitto(t *testing.T) {
	const count = 2000
	ca := keystest.NewAuthority(t)
	address := mosquitto(t, ca)
	topics, all := newInbox(count)
	ear, err := mqtt.Dial(t.Context(), mqtt.Options{
		Host: "localhost", Address: address, Roots: ca.Pool, ClientID: "listener",
		Certificate: selfMade(t, ca, "listener"), Receive: topics.put,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer ear.Close()
	if err := ear.Subscribe(t.Context(), "devices/#"); err != nil {
		t.Fatal(err)
	}
	conn, err := New(Config{SpoolID: "spool", Connect: address, Roots: mtls.Fixed(ca.Pool)}).Dial(t.Context(), identityOf(t, ca))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	start := time.Now()
	if n, err := sendEach(conn, records(count)); n != count || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	t.Logf("%d readings in %v with a window of 16", count, time.Since(start))
	<-all
	for i, topic := range topics.got {
		if want := fmt.Sprintf("&seq=%d", i+1); !strings.HasSuffix(topic, want) || !strings.HasPrefix(topic, "devices/"+device+"/messages/events/") {
			t.Fatalf("reading %d came as %s", i+1, topic)
		}
	}
}

// identityOf is a device with the hub localhost.
func identityOf(t *testing.T, ca *keystest.Authority) *identity.Identity {
	t.Helper()
	store := newStore(t, newKeys())
	name, key, err := store.NextKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	id, err := store.Stage(t.Context(), name, identity.Grant{
		Assignment: identity.Assignment{DeviceID: device, Hub: "localhost"},
		Chain:      parse(t, ca.Certify(t, device, key)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func parse(t *testing.T, c tls.Certificate) (chain []*x509.Certificate) {
	t.Helper()
	for _, der := range c.Certificate {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, cert)
	}
	return chain
}

// inbox collects the topics of n messages.
type inbox struct {
	mu  sync.Mutex
	n   int
	got []string
	all chan struct{}
}

func newInbox(n int) (*inbox, <-chan struct{}) {
	i := &inbox{n: n, all: make(chan struct{})}
	return i, i.all
}

func (i *inbox) put(topic string, _ []byte, ack func()) {
	ack()
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.got = append(i.got, topic); len(i.got) == i.n {
		close(i.all)
	}
}
