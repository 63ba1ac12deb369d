//go:build !noremote

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
	"github.com/devid-agent/devid-agent/sim"
)

// ruled is a gateway with a configuration file, and the cloud that it listens to.
type ruled struct {
	*testing.T
	name  string // at the hub
	dir   string
	cloud *sim.Cloud
	keys  *keystest.Store
	text  string // of the file
	log   journal
	dial  func(context.Context, string, string) (net.Conn, error)
	level slog.LevelVar
	limit time.Duration // of a wait
}

// journal is the agent's log, in a file: it may be read while the agent writes it.
type journal struct{ *os.File }

func (j journal) String() string {
	text, err := os.ReadFile(j.Name())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// allowed is what the file of the stories lets the cloud do.
const allowed = `remote:
  change: [log.level, telemetry.sensors, telemetry.streams, telemetry.tail, telemetry.ingest]
  methods: [ping, status, check, log-level, valve]
  messages: true
telemetry: {sensors: {interval: 1h, sources: [uptime]}, ingest: {socket: %s}}
`

func newRuled(t *testing.T, dir string, cloud *sim.Cloud, text string) *ruled {
	t.Helper()
	bootstrapped(t, dir, cloud)
	r := &ruled{T: t, name: gatewayID, limit: patience, dir: dir, cloud: cloud, keys: keystest.NewStore(keys.ECDSAP256), text: text + `device: {id: ` + gatewayID + `, state: state}
bootstrap: {certificate: bootstrap.pem, key: bootstrap.key}
status: {file: run/status.json}
`}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "agent.yaml"), []byte(r.text), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.log = journal{log}
	t.Cleanup(func() { _ = log.Close() })
	return r
}

// inRuled runs story in virtual time, where no socket is.
func inRuled(t *testing.T, text string, story func(r *ruled)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		cloud, err := sim.New(sim.Temper{Latency: 5 * time.Millisecond}, func(p *sim.Policy) { p.ECDSAServer = true })
		if err != nil {
			t.Fatal(err)
		}
		r := newRuled(t, dir, cloud, text+fmt.Sprintf("provisioning: {dps: {id_scope: %s, roots: roots.pem}}\nhub: {roots: roots.pem}\n", sim.IDScope))
		r.dial, r.limit = cloud.Dial, 15*time.Minute // as long as a backoff
		t.Cleanup(func() {
			if err := cloud.Close(); err != nil {
				t.Error(err)
			}
			if t.Failed() {
				t.Log("the agent's log:\n" + r.log.String())
			}
		})
		story(r)
	})
}

// onSockets runs story in real time.
func onSockets(t *testing.T, text string, story func(r *ruled)) {
	t.Helper()
	dir, err := os.MkdirTemp("", "ruled-") // short, for the paths of sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	cloud, err := sim.Start(t.Context(), sim.Temper{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cloud.Close() })
	r := newRuled(t, dir, cloud, text+azure(cloud))
	story(r)
	if t.Failed() {
		t.Log("the agent's log:\n" + r.log.String())
	}
}

// start is one life of the process; stop ends it in an orderly way, and returns why it ended before, if it did.
func (r *ruled) start() (stop func() error) {
	r.Helper()
	file := filepath.Join(r.dir, "agent.yaml")
	c, err := parseConfig(file, []byte(r.text), nil)
	if err != nil {
		r.Fatal(err)
	}
	r.level.Set(c.Log.Level)
	w := world{keys: r.keys, dial: r.dial, file: source{file, []byte(r.text)}, level: &r.level, spread: time.Millisecond}
	ctx, cancel := context.WithCancel(r.Context())
	over := make(chan error, 1)
	go func() {
		over <- lives(ctx, c, w, slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: &r.level})))
	}()
	stop = sync.OnceValue(func() error { cancel(); return <-over })
	r.Cleanup(func() { _ = stop() })
	return stop
}

// wait returns once is, or fails.
func (r *ruled) wait(what string, is func() bool) {
	r.Helper()
	for end := time.Now().Add(r.limit); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			r.Fatalf("not in time: %s\n%s", what, r.cloud.Reported(r.name))
		}
	}
}

// desire merges what the cloud wants into our part of the twin.
func (r *ruled) desire(patch string) {
	r.Helper()
	if _, err := r.cloud.SetDesired(r.name, []byte(`{"devid-agent":`+patch+`}`)); err != nil {
		r.Fatal(err)
	}
}

// told waits until the newest version has that result, and returns the errors.
func (r *ruled) told(applied bool) string {
	r.Helper()
	var errors []string
	r.wait(fmt.Sprintf("the newest version is reported, applied: %v", applied), func() bool {
		var twin struct {
			Desired struct {
				Version int64 `json:"$version"`
			} `json:"desired"`
			Reported struct {
				Agent struct {
					Version int64
					Applied bool
					Errors  []string
				} `json:"devid-agent"`
			} `json:"reported"`
		}
		if err := json.Unmarshal(r.cloud.Twin(r.name), &twin); err != nil {
			r.Fatal(err)
		}
		errors = twin.Reported.Agent.Errors
		return twin.Reported.Agent.Version == twin.Desired.Version && twin.Reported.Agent.Applied == applied
	})
	return strings.Join(errors, "\n")
}

func (r *ruled) status() *status {
	s, err := readStatus(&Config{Status: struct {
		File string `yaml:"file,path" like:"/run/devid-agent/status.json"`
	}{filepath.Join(r.dir, "run", "status.json")}})
	if err != nil {
		return &status{}
	}
	return s
}

func (r *ruled) online() {
	r.Helper()
	r.wait("the agent is online and has read its twin", func() bool { return strings.Contains(string(r.cloud.Reported(r.name)), `"applied"`) })
}

// ask is one request to the agent's socket.
func (r *ruled) ask(method, path, body string) (int, string) {
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(r.dir, "run", "ingest.sock"))
	}}}
	q, err := http.NewRequestWithContext(r.Context(), method, "http://agent"+path, strings.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	if strings.HasPrefix(path, "/v1/telemetry/") {
		q.Header.Set("Content-Type", "application/json")
	}
	a, err := c.Do(q)
	if err != nil {
		return 0, err.Error()
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		return 0, err.Error()
	}
	return a.StatusCode, string(text)
}

func (r *ruled) invoke(name, payload string) (int, string) {
	r.Helper()
	a, err := r.cloud.Invoke(r.Context(), r.name, name, []byte(payload), 0)
	if err != nil {
		return 0, err.Error()
	}
	return a.Status, string(a.Payload)
}
