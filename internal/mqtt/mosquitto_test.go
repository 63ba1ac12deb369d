package mqtt

import (
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

// byCertificate lets a device in as who its certificate says.
const byCertificate = "require_certificate true\nuse_identity_as_username true\n"

// mosquitto starts Debian's broker with mutual TLS: a device is who its certificate says, and may use its own topics.
func mosquitto(t testing.TB, ca *authority) (address string) { return admitting(t, ca, byCertificate) }

// admitting starts Debian's broker with these lines about who is let in, and how.
func admitting(t testing.TB, ca *authority, admission string) (address string) {
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
	writePEM(t, ca.issue(t, "localhost", time.Now().Add(-time.Hour)), file("server.pem"), file("server.key"))
	writePEM(t, ca.issue(t, "unused", time.Now().Add(-time.Hour)), file("chain.pem"), file("unused.key"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(address)
	// Mosquitto 2.0.11 does not start with a listener for WebSocket alone.
	config := fmt.Sprintf(`listener 0 %s
listener %s 127.0.0.1
cafile %s
certfile %s
keyfile %s
%sallow_anonymous false
acl_file %s
persistence false
`, file("socket"), port, file("chain.pem"), file("server.pem"), file("server.key"), admission, file("acl"))
	if os.Geteuid() == 0 {
		config += "user root\n"
	}
	for name, text := range map[string]string{"acl": "pattern readwrite dev/%u/#\n", "conf": config} {
		if err := os.WriteFile(file(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	broker := exec.Command(program, "-c", file("conf"))
	if err := broker.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = broker.Process.Kill(); _ = broker.Wait() })
	return address
}

// eventually dials until the broker is up.
func eventually(t testing.TB, o Options) *Conn {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		c, err := Dial(t.Context(), o)
		if err == nil {
			return c
		}
		if _, refused := errors.AsType[*RefusedError](err); refused || time.Now().After(deadline) {
			t.Fatal(err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

func TestMosquittoAcknowledgesAndDeliversEveryMessageInOrder(t *testing.T) {
	ca := newAuthority(t, "ca")
	o := Options{Host: "localhost", Address: mosquitto(t, ca), Roots: ca.pool(), ClientID: "dev1", Certificate: ca.issue(t, "dev1", time.Now().Add(-time.Hour))}
	const count = 2000
	var mu sync.Mutex
	var got []string
	all := make(chan struct{})
	listener := o
	listener.ClientID = "listener"
	listener.Receive = func(_ string, payload []byte, ack func()) {
		ack()
		mu.Lock()
		defer mu.Unlock()
		if got = append(got, string(payload)); len(got) == count {
			close(all)
		}
	}
	ear := eventually(t, listener)
	defer ear.Close()
	if err := ear.Subscribe(t.Context(), "dev/dev1/#"); err != nil {
		t.Fatal(err)
	}
	c := eventually(t, o)
	defer c.Close()
	start := time.Now()
	flights := make([]*Flight, count)
	for i := range flights {
		flights[i] = c.Publish("dev/dev1/x", fmt.Appendf(make([]byte, 0, 200), "%d", i))
		if i >= 16 {
			if err := flights[i-16].Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, f := range flights[count-16:] {
		if err := f.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d messages in %v", count, time.Since(start))
	<-all
	for i, m := range got {
		if m != fmt.Sprint(i) {
			t.Fatalf("message %d is %s", i, m)
		}
	}
}

func TestMosquittoRefusesAForeignCertificate(t *testing.T) {
	ca, foreign := newAuthority(t, "ca"), newAuthority(t, "foreign")
	o := Options{Host: "localhost", Address: mosquitto(t, ca), Roots: ca.pool(), ClientID: "dev1", Certificate: ca.issue(t, "dev1", time.Now().Add(-time.Hour))}
	eventually(t, o).Close()
	for name, cert := range map[string]func(){
		"another authority": func() { o.Certificate = foreign.issue(t, "dev1", time.Now().Add(-time.Hour)) },
		"expired":           func() { o.Certificate = ca.issue(t, "dev1", time.Now().Add(-72*time.Hour)) },
		"not yet valid":     func() { o.Certificate = ca.issue(t, "dev1", time.Now().Add(72*time.Hour)) },
	} {
		cert()
		_, err := Dial(t.Context(), o)
		if refused, ok := errors.AsType[*RefusedError](err); !ok || !refused.Identity() || fault.Of(err) != fault.Permanent {
			t.Errorf("%s: %v: %v", name, fault.Of(err), err)
		}
	}
}

func TestMosquittoEndsTheOlderOfTwoSessions(t *testing.T) {
	ca := newAuthority(t, "ca")
	o := Options{Host: "localhost", Address: mosquitto(t, ca), Roots: ca.pool(), ClientID: "dev1", Certificate: ca.issue(t, "dev1", time.Now().Add(-time.Hour)), Persistent: true}
	first := eventually(t, o)
	defer first.Close()
	second := eventually(t, o)
	defer second.Close()
	<-first.Done()
	if err := second.Publish("dev/dev1/x", []byte("1")).Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestMosquittoTakesADeviceBackWithoutASignature(t *testing.T) {
	ca := newAuthority(t, "ca")
	o := Options{Host: "localhost", Address: mosquitto(t, ca), Roots: ca.pool(), ClientID: "dev1", Certificate: ca.issue(t, "dev1", time.Now().Add(-time.Hour))}
	eventually(t, o).Close()
	key := &counted{Signer: o.Certificate.PrivateKey.(crypto.Signer)}
	o.Certificate.PrivateKey, o.Sessions = key, tls.NewLRUClientSessionCache(1)
	for i := range 4 {
		c := eventually(t, o)
		if err := errors.Join(c.Publish("dev/dev1/x", []byte("1")).Wait(t.Context()), c.Close()); err != nil {
			t.Error(err)
		}
		if n := key.n.Load(); n != 1 {
			t.Errorf("connection %d: %d signatures so far", i+1, n)
		}
	}
}

func TestMosquittoTakesMQTTInAWebSocket(t *testing.T) {
	ca := newAuthority(t, "ca")
	passwords := filepath.Join(t.TempDir(), "passwords")
	if out, err := exec.Command("mosquitto_passwd", "-b", "-c", passwords, "dev1", "s3cret").CombinedOutput(); err != nil {
		t.Skipf("install mosquitto: %v %s", err, out)
	}
	both := Options{Host: "localhost", Roots: ca.pool(), ClientID: "dev1", Username: "dev1", WebSocket: true}
	for name, s := range map[string]struct {
		admission string
		show      func(o *Options)
	}{
		"certificate": {byCertificate, func(o *Options) { o.Certificate = ca.issue(t, "dev1", time.Now().Add(-time.Hour)) }},
		"password":    {"password_file " + passwords + "\n", func(o *Options) { o.Password = "s3cret" }},
	} {
		o := both
		o.Address = admitting(t, ca, "protocol websockets\n"+s.admission)
		s.show(&o)
		got := make(chan string, 1)
		o.Receive = func(_ string, payload []byte, ack func()) { ack(); got <- string(payload) }
		c := eventually(t, o)
		if err := c.Subscribe(t.Context(), "dev/dev1/#"); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		body := strings.Repeat("x", 100<<10)
		if err := c.Publish("dev/dev1/x", []byte(body)).Wait(t.Context()); err != nil || <-got != body {
			t.Errorf("%s: %v", name, err)
		}
		c.Close()
		o.Certificate, o.Password = tls.Certificate{}, "wrong"
		if _, err := Dial(t.Context(), o); fault.Of(err) != fault.Permanent {
			t.Errorf("without %s: %v: %v", name, fault.Of(err), err)
		}
	}
}
