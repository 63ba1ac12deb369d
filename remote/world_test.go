package remote_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/durable"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
	"github.com/devid-agent/devid-agent/remote"
	"github.com/devid-agent/devid-agent/sim"
	"github.com/devid-agent/devid-agent/telemetry/iothub"
)

const device = "gateway-1"

// world is a simulated hub, a device that is registered there, and what the cloud may change of it.
type world struct {
	*testing.T
	cloud  *sim.Cloud
	id     *identity.Identity
	config remote.Config
	medium *medium

	mu      sync.Mutex
	inForce map[string]any // by path
	applied []string
	conn    *iothub.Conn
}

// inWorld runs story in virtual time.
func inWorld(t *testing.T, temper sim.Temper, story func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cloud, err := sim.New(temper, func(p *sim.Policy) { p.ECDSAServer = true })
		if err != nil {
			t.Fatal(err)
		}
		defer cloud.Close()
		w := &world{T: t, cloud: cloud, medium: &medium{}, inForce: map[string]any{}}
		w.register()
		w.config = remote.Config{
			Change:   []string{"log.level", "telemetry"},
			Settings: []remote.Setting{w.setting("telemetry.sensors.interval"), w.setting("log.level"), w.setting("telemetry.streams")},
			Validate: validate,
			Files:    w.medium,
			Methods:  []string{"ping", "renew", "log-level", "reboot", "valve"},
		}
		story(w)
	})
}

func (w *world) register() {
	w.Helper()
	store, err := identity.Open(w.Context(), w.TempDir(), keystest.NewStore(keys.ECDSAP256), nil)
	if err != nil {
		w.Fatal(err)
	}
	name, key, err := store.NextKey(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	chain, err := w.cloud.Bootstrap(device, key.Public(), 365*24*time.Hour)
	if err != nil {
		w.Fatal(err)
	}
	w.cloud.CreateDevice(device, sim.Auth{CA: w.cloud.FactoryCA()})
	w.id, err = store.Stage(w.Context(), name, identity.Grant{Assignment: identity.Assignment{DeviceID: device, Hub: sim.HubHost}, Chain: chain})
	if err != nil {
		w.Fatal(err)
	}
}

// setting notes what is put in force. The value "explodes" panics, "sticks" cannot be applied.
func (w *world) setting(path string) remote.Setting {
	return remote.Setting{Path: path, Apply: func(value any) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		switch value {
		case "explodes":
			panic("as it says")
		case "sticks":
			return fmt.Errorf("it sticks")
		}
		w.inForce[path] = value
		w.applied = append(w.applied, fmt.Sprintf("%s=%v", path, value))
		return nil
	}}
}

func validate(changes map[string]any) []error {
	b, _ := json.Marshal(changes)
	if strings.Contains(string(b), "fast") {
		return []error{fmt.Errorf("telemetry.sensors.interval: \"fast\" is no time: write 30s")}
	}
	return nil
}

// life is one run of the agent.
type life struct {
	*remote.Remote
	end func()
}

// begin starts the agent as the file system has it. Its end is orderly; for another, cut the power first.
func (w *world) begin() *life {
	w.Helper()
	config := w.config
	ctx, stop := context.WithCancel(w.Context())
	var r *remote.Remote
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.cloud.RootsPEM())
	hub := iothub.New(iothub.Config{SpoolID: "s", Roots: func() *x509.CertPool { return roots }, Dial: w.cloud.Dial, Handlers: iothub.Handlers{
		Desired: func(v int64, p []byte) { r.Desired(v, p) },
		Method:  func(ctx context.Context, name string, p []byte) (int, []byte) { return r.Method(ctx, name, p) },
		Message: func(ctx context.Context, p map[string]string, b []byte) error { return r.Message(ctx, p, b) },
	}})
	config.Lend = func(ctx context.Context) (remote.Session, error) { return w.lend(ctx, hub) }
	r = remote.New(config)
	over := make(chan struct{})
	go func() {
		defer close(over)
		_ = r.Run(ctx)
	}()
	l := &life{Remote: r, end: sync.OnceFunc(func() {
		stop()
		<-over
		w.hangUp()
	})}
	w.Cleanup(l.end)
	return l
}

// lend is what the pump does: one session at a time, a new one when it has ended.
func (w *world) lend(ctx context.Context, hub *iothub.Hub) (remote.Session, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn != nil {
		select {
		case <-w.conn.Done():
			w.conn.Close()
		default:
			return w.conn, nil
		}
	}
	conn, err := hub.Dial(ctx, w.id)
	if err != nil {
		return nil, err
	}
	w.conn = conn.(*iothub.Conn)
	return w.conn, nil
}

func (w *world) hangUp() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn != nil {
		w.conn.Close()
		w.conn = nil
	}
}

// desire changes the twin, and waits until all that follows has happened.
func (w *world) desire(patch string) int {
	w.Helper()
	v, err := w.cloud.SetDesired(device, []byte(patch))
	if err != nil {
		w.Fatal(err)
	}
	synctest.Wait()
	return v
}

// settle lets the agent connect and read its twin.
func settle() {
	time.Sleep(31 * time.Second)
	synctest.Wait()
}

// wantReported compares what the twin has, without the status.
func (w *world) wantReported(want string) {
	w.Helper()
	var all map[string]map[string]any
	if err := json.Unmarshal(w.cloud.Reported(device), &all); err != nil {
		w.Fatal(err)
	}
	delete(all["devid-agent"], "status")
	if b, _ := json.Marshal(all["devid-agent"]); string(b) != want {
		w.Errorf("reported %s, want %s", b, want)
	}
}

func (w *world) wantInForce(path string, want any) {
	w.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if got := w.inForce[path]; got != want {
		w.Errorf("%s is %v, want %v", path, got, want)
	}
}

// medium is a directory whose power can be cut: then nothing more is written.
type medium struct {
	files  map[string][]byte
	off    bool
	writes int
}

var _ remote.Files = (*durable.Dir)(nil)

func (m *medium) Read(name string) ([]byte, error) {
	if b, ok := m.files[name]; ok {
		return b, nil
	}
	return nil, fs.ErrNotExist
}

func (m *medium) Write(name string, b []byte) error {
	if m.off {
		return fmt.Errorf("the power is off")
	}
	if m.files == nil {
		m.files = map[string][]byte{}
	}
	m.files[name] = b
	m.writes++
	return nil
}

type outcome struct {
	sim.Answer
	err error
}

// invoke calls a method as the cloud does, and returns at once.
func (w *world) invoke(name, payload string) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		a, err := w.cloud.Invoke(w.Context(), device, name, []byte(payload), 0)
		done <- outcome{a, err}
	}()
	return done
}

func (w *world) wantAnswer(got outcome, status int, payload string) {
	w.Helper()
	if got.err != nil || got.Status != status || payload != "" && string(got.Payload) != payload {
		w.Errorf("%d %s %v, want %d %s", got.Status, got.Payload, got.err, status, payload)
	}
}

// ask is a request of a program on the device.
func (l *life) ask(method, path, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	l.Handler().ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	return w
}

// asking is a request that may take its time.
func (l *life) asking(h http.Handler, ctx context.Context, path string) <-chan *httptest.ResponseRecorder {
	done := make(chan *httptest.ResponseRecorder, 1)
	go func() {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil).WithContext(ctx))
		done <- w
	}()
	return done
}

func field(t *testing.T, w *httptest.ResponseRecorder, name string) string {
	t.Helper()
	var all map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &all); err != nil {
		t.Fatalf("%d %q: %v", w.Code, w.Body, err)
	}
	return fmt.Sprint(all[name])
}
