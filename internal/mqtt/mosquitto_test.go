package mqtt

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

// mosquitto starts Debian's broker with mutual TLS: a device is who its certificate says, and may use its own topics.
func mosquitto(t *testing.T, ca *authority) (address string) {
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
	config := fmt.Sprintf(`listener %s 127.0.0.1
cafile %s
certfile %s
keyfile %s
require_certificate true
use_identity_as_username true
allow_anonymous false
acl_file %s
persistence false
`, port, file("chain.pem"), file("server.pem"), file("server.key"), file("acl"))
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
func eventually(t *testing.T, o Options) *Conn {
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
	listener.Receive = func(_ string, payload []byte) {
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
