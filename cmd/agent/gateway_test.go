package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devid-agent/devid-agent/fault"
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
	log    bytes.Buffer

	mu       sync.Mutex
	promised map[uint64]string // readings that Append has promised, by number
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
			t.Log("the agent's log:\n" + g.log.String())
		}
	})
}

func newGateway(t *testing.T, dir string, cloud *sim.Cloud) *gateway {
	t.Helper()
	g := &gateway{t: t, cloud: cloud, keys: keystest.NewStore(keys.ECDSAP256), promised: map[uint64]string{}}
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
	w := world{keys: g.keys, dial: p.dial(g.cloud.Dial), step: p.step}
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
	seq, err := b.spool.Append(b.g.t.Context(), "press", []byte(body))
	if err != nil {
		return
	}
	b.g.mu.Lock()
	defer b.g.mu.Unlock()
	if before, taken := b.g.promised[seq]; taken {
		b.g.t.Errorf("number %d is promised twice: %s and %s", seq, before, body)
	}
	b.g.promised[seq] = body
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
			g.t.Fatalf("not within %v: %s\n%s", limit, what, g.log.String())
		}
	}
}

// audit says everything that is wrong with the world: what was promised and is not there, who is not connected, what
// was issued and is used by nobody, which keys nobody names.
func (g *gateway) audit() []string {
	var wrong []string
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	got := map[uint64]string{}
	for _, m := range g.cloud.Received(gatewayID) {
		seq, err := strconv.ParseUint(m.Properties["seq"], 10, 64)
		if err != nil {
			bad("a message has no number: %v", m.Properties)
		}
		got[seq] = string(m.Body)
	}
	for seq, body := range g.promised {
		if got[seq] != body {
			bad("reading %d was promised as %s, and the cloud has %q", seq, body, got[seq])
		}
	}
	if g.lost != nil {
		bad("an identity was lost: %v", g.lost)
	}
	if !g.cloud.Online(gatewayID) {
		bad("the device is not connected")
	}
	current, pending, err := identityLook(g.config)
	if err != nil || current == nil {
		bad("the device is nobody: %v", err)
		return wrong
	}
	newest := current.Generation
	named := []string{current.Key}
	if pending != nil {
		newest, named = pending.Generation, append(named, pending.Key)
	}
	if orphans := len(g.cloud.Issued(gatewayID)) - int(newest); orphans > 1 {
		bad("%d certificates were issued and never used", orphans)
	}
	names, err := g.keys.Names(context.Background())
	if err != nil {
		bad("keys: %v", err)
	}
	for _, name := range names {
		if !slices.Contains(named, name) {
			bad("key %s is named by no identity", name)
		}
	}
	return wrong
}

// power is a supply that fails at one step.
type power struct {
	cutAt int // the step before which it fails, from 1; 0 is never
	tear  bool

	mu     sync.Mutex
	steps  []string
	dead   bool
	off    func()
	conns  []net.Conn
	before map[string][]byte // content of files that were renamed over and not synced yet
	spoil  func(verb, path string)
}

// errCut is what every operation answers once there is no power.
var errCut = errors.New("the power is cut")

func (p *power) plug(off func()) { p.off = off }

// step is a durable.Step.
func (p *power) step(verb, path string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return errCut
	}
	p.steps = append(p.steps, verb+" "+filepath.Base(path))
	if p.spoil != nil {
		p.spoil(verb, path)
	}
	if len(p.steps) != p.cutAt {
		p.remember(verb, path)
		return nil
	}
	p.dead = true
	if p.tear {
		p.damage(verb, path)
	}
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.off()
	return errCut
}

// remember keeps what a rename is about to replace, for as long as the directory is not synced.
func (p *power) remember(verb, path string) {
	switch verb {
	case "rename":
		old, err := os.ReadFile(path)
		if err != nil {
			old = nil
		}
		p.before = map[string][]byte{path: old}
	case "synced":
		p.before = nil
	}
}

// damage does to the medium what a cut may do to what was not synced: it tears what was being written, and undoes a
// rename.
func (p *power) damage(verb, path string) {
	switch verb {
	case "wrote", "written":
		if info, err := os.Stat(path); err == nil {
			_ = os.Truncate(path, info.Size()-min(info.Size(), 7))
		}
	case "renamed", "sync":
		for path, old := range p.before {
			undo(path, old)
		}
	}
}

// undo puts back what lay at path before something was renamed over it.
func undo(path string, old []byte) {
	source := path + ".tmp~"
	if name := filepath.Base(path); strings.HasPrefix(name, "current") || strings.HasPrefix(name, "dropped") {
		source = filepath.Join(filepath.Dir(path), "pending.json")
	}
	_ = os.Rename(path, source)
	if old != nil {
		_ = os.WriteFile(path, old, 0o600)
	}
}

// dial makes connections that a cut ends.
func (p *power) dial(through func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := through(ctx, network, address)
		p.mu.Lock()
		defer p.mu.Unlock()
		if err == nil && p.dead {
			_ = conn.Close()
			return nil, errCut
		}
		if err == nil {
			p.conns = append(p.conns, conn)
		}
		return conn, err
	}
}
