package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/dial"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
	"github.com/devid-agent/devid-agent/sim"
)

// gateway is a device on the test's desk: its disk and its hardware keys outlive each boot. Everything runs in a
// synctest bubble, in virtual time, with real TLS over connections in memory.
type gateway struct {
	t      *testing.T
	cloud  *sim.Cloud
	keys   *keystest.Store
	config *Config
	dial   dial.Dial // through the network that there is
	log    bytes.Buffer

	mu       sync.Mutex
	promised map[uint64]string // readings that Append has promised, by number
	alarms   map[uint64]string // the same of the stream with a lane of its own, in lives that have one
	readings int
	lost     error // an identity that a boot found without its key
}

const gatewayID = "gateway-0042"

// life of a certificate in the stories.
const certificateLife = 40 * time.Minute

// inBubble runs the story with a new gateway and a cloud of that temper.
func inBubble(t *testing.T, temper sim.Temper, story func(g *gateway)) {
	t.Helper()
	dir := t.TempDir()
	defer os.RemoveAll(dir) // a matrix has hundreds of these, and all their segments would fill a small disk
	synctest.Test(t, func(t *testing.T) {
		cloud, err := sim.New(temper, func(p *sim.Policy) { p.Life, p.ECDSAServer = certificateLife, true })
		if err != nil {
			t.Fatal(err)
		}
		g := newGateway(t, dir, cloud)
		story(g)
		if err := cloud.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(g.story())
		}
	})
}

// story is the agent's log: itself where the tests talk, else where it is, so that what failed is not lost behind it.
func (g *gateway) story() string {
	if testing.Verbose() {
		return "the agent's log:\n" + g.log.String()
	}
	f, err := os.CreateTemp("", "devid-agent-log-")
	if err != nil {
		return err.Error()
	}
	_, err = g.log.WriteTo(f)
	return fmt.Sprint("the agent's log is in ", f.Name(), " ", errors.Join(err, f.Close()))
}

func newGateway(t *testing.T, dir string, cloud *sim.Cloud) *gateway {
	t.Helper()
	g := &gateway{t: t, cloud: cloud, dial: cloud.Dial, keys: keystest.NewStore(keys.ECDSAP256), promised: map[uint64]string{}, alarms: map[uint64]string{}}
	g.config = bootstrapped(t, dir, cloud)
	g.config.Telemetry.Ingest.Socket = "" // a socket of the kernel knows no virtual time
	g.config.Telemetry.Sensors.Enabled = false
	g.config.Status.File = ""
	return g
}

// bootstrapped is a configuration in dir for a device that has what the factory gives it.
func bootstrapped(t *testing.T, dir string, cloud *sim.Cloud) *Config {
	t.Helper()
	key, err := keystest.Generate(keys.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := cloud.Bootstrap(gatewayID, key.Public(), 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	c := defaultConfig()
	c.Device.ID, c.Device.State = gatewayID, filepath.Join(dir, "state")
	c.Bootstrap.Certificate, c.Bootstrap.Key = filepath.Join(dir, "bootstrap.pem"), filepath.Join(dir, "bootstrap.key")
	c.Provisioning.DPS.IDScope = sim.IDScope
	c.Provisioning.DPS.Roots = filepath.Join(dir, "roots.pem")
	c.Hub.Roots = c.Provisioning.DPS.Roots
	c.Status.File = filepath.Join(dir, "run", "status.json")
	c.Telemetry.Ingest.Socket = filepath.Join(dir, "run", "ingest.sock")
	var certificates []byte
	for _, x := range chain {
		certificates = append(certificates, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: x.Raw})...)
	}
	err = errors.Join(
		os.WriteFile(c.Bootstrap.Certificate, certificates, 0o644),
		os.WriteFile(c.Bootstrap.Key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600),
		os.WriteFile(c.Hub.Roots, cloud.RootsPEM(), 0o644),
	)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// boot is one life of the agent, from power on to power off.
type boot struct {
	*agent
	g     *gateway
	power *power
	stop  context.CancelFunc
	done  chan struct{}
	err   error
}

// start boots the agent with that power supply; plant may spoil the device before it lives. A step that cuts the
// power while the agent is put together makes a boot that is over already.
func (g *gateway) start(p *power, plant planted) *boot {
	g.t.Helper()
	ctx, stop := context.WithCancel(g.t.Context())
	b := &boot{g: g, power: p, stop: stop, done: make(chan struct{})}
	p.plug(stop)
	w := world{keys: g.keys, dial: p.dial(g.dial), step: p.step}
	log := slog.New(slog.NewTextHandler(&g.log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	var err error
	if b.agent, err = newAgent(g.config, w, log); err != nil {
		b.err = err
		close(b.done)
		return b
	}
	go func() {
		defer close(b.done)
		defer b.agent.close()
		d, err := b.openDevice(ctx)
		if err != nil {
			b.err = err
			return
		}
		g.mu.Lock()
		g.lost = errors.Join(g.lost, d.identities.Lost())
		g.mu.Unlock()
		if plant != nil {
			plant(g, d)
		}
		b.err = b.live(ctx, d)
	}()
	return b
}

// off ends this life and waits until nothing of it runs. It returns what else has ended it.
func (b *boot) off() error {
	b.stop()
	<-b.done
	if fault.Stopped(b.err) || errors.Is(b.err, errCut) {
		return nil
	}
	return b.err
}

// take takes one reading in, as a sensor does, and notes the promise if there is one.
func (b *boot) take() {
	if b.agent == nil {
		return
	}
	b.g.mu.Lock()
	b.g.readings++
	body := fmt.Sprintf(`{"n":%d}`, b.g.readings)
	b.g.mu.Unlock()
	b.takeOf("press", body, b.g.promised)
	if b.config.Telemetry.Streams != nil {
		b.takeOf(laneAlarms, body, b.g.alarms)
		b.takeOf(laneFast, body, nil)
	}
}

// Streams with a lane of their own: what is promised of the second is not on the disk yet.
const laneAlarms, laneFast = "alarms", "fast"

// takeOf takes a reading in and notes the promise, which holds also if the power fails now.
func (b *boot) takeOf(stream, body string, promised map[uint64]string) {
	seq, err := b.intake.Append(b.g.t.Context(), stream, []byte(body))
	if err != nil || promised == nil {
		return
	}
	b.g.mu.Lock()
	defer b.g.mu.Unlock()
	if before, taken := promised[seq]; taken {
		b.g.t.Errorf("number %d of %s is promised twice: %s and %s", seq, stream, before, body)
	}
	promised[seq] = body
}

// takeFor takes a reading every minute for d.
func (b *boot) takeFor(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Minute) {
		b.take()
		select {
		case <-b.done:
			return
		default:
		}
	}
}

// until waits in virtual time.
func (g *gateway) until(what string, limit time.Duration, is func() bool) {
	g.t.Helper()
	for end := time.Now().Add(limit); !is(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			g.t.Fatalf("not within %v: %s", limit, what)
		}
	}
}
