package sim_test

import (
	"context"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

func started(t *testing.T, temper sim.Temper, policy ...func(*sim.Policy)) *sim.Cloud {
	t.Helper()
	cloud, err := sim.Start(t.Context(), temper, policy...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cloud.Close() })
	return cloud
}

func fastKey(p *sim.Policy) { p.ECDSAServer = true }

func writePEM(t *testing.T, dir, name, kind string, ders ...[]byte) string {
	t.Helper()
	var b []byte
	for _, der := range ders {
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})...)
	}
	name = filepath.Join(dir, name)
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestMosquittoPublishesThroughRealSockets(t *testing.T) {
	program, err := exec.LookPath("mosquitto_pub")
	if err != nil {
		t.Skip("install mosquitto-clients")
	}
	cloud := started(t, sim.Temper{})
	boot := bootstrap(t, cloud, "dev")
	cloud.CreateDevice("dev", sim.Auth{CA: cloud.FactoryCA()})
	dir := t.TempDir()
	der, err := x509.MarshalPKCS8PrivateKey(boot.key)
	if err != nil {
		t.Fatal(err)
	}
	roots := filepath.Join(dir, "roots.pem")
	if err := os.WriteFile(roots, cloud.RootsPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(cloud.HubAddr())
	publish := func(version string) ([]byte, error) {
		return exec.CommandContext(t.Context(), program, "-V", version, "-h", "localhost", "-p", port, "--cafile", roots,
			"--cert", writePEM(t, dir, "cert.pem", "CERTIFICATE", boot.chain[0].Raw, boot.chain[1].Raw),
			"--key", writePEM(t, dir, "key.pem", "PRIVATE KEY", der),
			"-i", "dev", "-u", hubUser("dev", newHub), "-q", "1", "-t", events("dev", "seq=1"), "-m", "hello").CombinedOutput()
	}
	if out, err := publish("mqttv311"); err != nil {
		t.Fatalf("%v: %s\n%v", err, out, cloud.Events())
	}
	got := cloud.Received("dev")
	if len(got) != 1 || string(got[0].Body) != "hello" || got[0].Properties["seq"] != "1" || got[0].QoS != 1 {
		t.Errorf("received %+v", got)
	}
	if out, err := publish("mqttv5"); err == nil {
		t.Errorf("MQTT 5 was accepted: %s", out)
	}
}

func TestManyDevicesAtOnceOverRealSockets(t *testing.T) {
	const devices, messages = 8, 50
	cloud := started(t, sim.Temper{Latency: time.Millisecond}, fastKey)
	var all sync.WaitGroup
	for i := range devices {
		id := fmt.Sprintf("dev-%d", i)
		boot := bootstrap(t, cloud, id)
		cloud.CreateDevice(id, sim.Auth{CA: cloud.FactoryCA()})
		raw, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", cloud.HubAddr())
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			c, err := secure(t, cloud, raw, sim.HubHost, boot)
			if err != nil || c.hello(hello{id: id, user: hubUser(id, newHub)}) != 0 {
				t.Errorf("%s: %v", id, err)
				return
			}
			for n := range messages {
				c.publish(1, uint16(n)+1, events(id, ""), "x")
			}
			for range messages {
				if first, _, err := c.read(); err != nil || first != 0x40 {
					t.Errorf("%s: %#x %v", id, first, err)
					return
				}
			}
		})
	}
	all.Wait()
	for i := range devices {
		if n := len(cloud.Received(fmt.Sprintf("dev-%d", i))); n != messages {
			t.Errorf("device %d: %d received", i, n)
		}
	}
}

func TestARefusalReachesTheDeviceOverARealSocket(t *testing.T) {
	cloud := started(t, sim.Temper{}, fastKey)
	cert := bootstrap(t, cloud, "d")
	for range 20 {
		raw, err := net.Dial("tcp", cloud.HubAddr())
		if err != nil {
			t.Fatal(err)
		}
		c, err := secure(t, cloud, raw, sim.HubHost, cert)
		if err != nil {
			t.Fatal(err)
		}
		c.send(append(hello{id: "d", user: hubUser("d", newHub)}.bytes(), frame(0xc0)...))
		c.want(0x20, 0, 5)
		raw.Close()
	}
}

func TestTheCloudEndsWithItsContext(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	cloud, err := sim.Start(ctx, sim.Temper{}, fastKey)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := net.Dial("tcp", cloud.DPSAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	stop()
	if n, err := raw.Read(make([]byte, 1)); err == nil {
		t.Errorf("read %d bytes", n)
	}
	cloud.Close()
	if _, err := net.Dial("tcp", cloud.DPSAddr()); err == nil {
		t.Error("it still listens")
	}
	if _, err := cloud.Dial(t.Context(), "tcp", sim.HubHost+":8883"); err == nil {
		t.Error("it can still be dialled")
	}
}

func TestObserveSeesAMessageBeforeItsAcknowledgement(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		var seen []string
		cloud.SetPolicy(func(p *sim.Policy) { p.Observe = func(m sim.Message) { seen = append(seen, string(m.Body)) } })
		c := atHub(t, cloud, "d", operational(t, cloud, "d"))
		c.publish(1, 1, events("d", ""), "x")
		c.want(0x40, 0, 1)
		if len(seen) != 1 {
			t.Errorf("seen %v", seen)
		}
	})
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		cloud, err := sim.New(sim.Temper{}, fastKey)
		if err != nil {
			b.Fatal(err)
		}
		cloud.Close()
	}
}

func TestTheStrictSwitchCertifiesP384Only(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		cert := operational(t, cloud, "d")
		c := listening(t, cloud, cert)
		cloud.SetPolicy(func(p *sim.Policy) { p.P384Only = true })
		c.request("rid-1", issueBody(t, "d", newKey(t, elliptic.P256())))
		c.answer(202, "rid-1")
		c.answer(400, "rid-1")
		c.request("rid-2", issueBody(t, "d", newKey(t, elliptic.P384())))
		c.answer(202, "rid-2")
		c.answer(200, "rid-2")
	})
}
