//go:build !noremote

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

var withoutSocket = fmt.Sprintf(allowed, `""`)

// machine is how many readings of its own the gateway has taken.
func (r *ruled) machine() uint64 { return r.status().Spool.LastSeq }

func TestTheTwinChangesWhatIsMeasuredAndTheNextBootKnowsItWithoutTheHub(t *testing.T) {
	inRuled(t, withoutSocket, func(r *ruled) {
		stop := r.start()
		r.online()
		r.desire(`{"telemetry":{"sensors":{"interval":"10s"},"streams":{"press":{"ttl":"1m"}}},"log":{"level":"warn"}}`)
		r.told(true)
		before := len(r.cloud.Received(gatewayID))
		time.Sleep(2 * time.Minute)
		if n := len(r.cloud.Received(gatewayID)) - before; n < 11 || n > 14 {
			t.Errorf("%d readings in two minutes at 10 s", n)
		}
		if _, own := r.status().Streams["press"]; !own || r.level.Level().String() != "WARN" {
			t.Errorf("streams %v, level %v", r.status().Streams, r.level.Level())
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}

		r.cloud.SetTemper(sim.Temper{Offline: true})
		stop = r.start()
		before = int(r.machine())
		time.Sleep(2 * time.Minute)
		if n := int(r.machine()) - before; n < 11 || n > 14 {
			t.Errorf("%d readings in two minutes at 10 s, without the hub", n)
		}
		if _, own := r.status().Streams["press"]; !own || r.level.Level().String() != "WARN" {
			t.Errorf("streams %v, level %v", r.status().Streams, r.level.Level())
		}
		r.cloud.SetTemper(sim.Temper{})
		r.desire(`null`)
		r.told(true)
		time.Sleep(30 * time.Second)
		before = int(r.machine())
		time.Sleep(10 * time.Minute)
		if n := int(r.machine()) - before; n > 1 {
			t.Errorf("%d readings in ten minutes: the file says 1h", n)
		}
		if _, own := r.status().Streams["press"]; own || r.level.Level().String() != "INFO" {
			t.Errorf("streams %v, level %v: the file's do not hold", r.status().Streams, r.level.Level())
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		r.wantAll()
	})
}

// wantAll says which of the numbers that the spool has given did not arrive.
func (r *ruled) wantAll() {
	r.Helper()
	got := map[string]bool{}
	for _, m := range r.cloud.Received(gatewayID) {
		got[m.Properties["seq"]] = true
	}
	last := r.machine()
	for n := uint64(1); n <= last; n++ {
		if !got[fmt.Sprint(n)] {
			r.Errorf("reading %d of %d is lost", n, last)
		}
	}
}

func TestWhatTheCloudMayNotChangeIsRefusedWithWordsAndNothingChanges(t *testing.T) {
	inRuled(t, withoutSocket, func(r *ruled) {
		stop := r.start()
		r.online()
		r.desire(`{"telemetry":{"sensors":{"interval":"20s"}}}`)
		r.told(true)
		for patch, want := range map[string]string{
			`{"telemetry":{"sensors":{"interval":"fast"}}}`:                                                      `telemetry.sensors.interval: expected a duration, got "fast"`,
			`{"device":{"id":"other"}}`:                                                                          "device.id: cannot be changed while the agent runs",
			`{"telemetry":{"spool":{"max_bytes":"1MiB"}}}`:                                                       "telemetry.spool.max_bytes: remote.change does not allow it",
			`{"telemetry":{"streams":{"a/b":{"ttl":"1m"}}}}`:                                                     "is no name of a stream",
			`{"telemetry":{"sensors":{"each":[{"source":"exec","command":["/bin/sh","-c","id"]}]}}}`:             "only the configuration file can name a command",
			`{"telemetry":{"tail":[{"file":"/etc/shadow","stream":"x"}]}}`:                                       "only the configuration file can name files",
			`{"telemetry":{"ingest":{"mqtt":{"listen":"127.0.0.1:1883"}}}}`:                                      "telemetry.ingest: of this section",
			`{"telemetry":{"sensors":{"each":[{"source":"load","keep":"histogram"}]}}}`:                          "a histogram without ascending bounds",
			`{"telemetry":{"sensors":{"enabled":false,"sources":["load"],"interval":"20s"}},"nonsense":{"a":1}}`: "nonsense.a: cannot be changed",
		} {
			r.desire(patch)
			if said := r.told(false); !strings.Contains(said, want) || strings.Contains(said, "on line") || strings.Contains(said, ".yaml") {
				t.Errorf("%s: %s", patch, said)
			}
			r.desire(`{"telemetry":{"sensors":{"interval":"20s","each":null,"enabled":null,"sources":null},"spool":null,"streams":null,"tail":null,"ingest":null},"device":null,"nonsense":null}`)
			r.told(true)
		}
		before := r.machine()
		time.Sleep(2 * time.Minute)
		if n := r.machine() - before; n < 5 || n > 8 {
			t.Errorf("%d readings in two minutes at 20 s: the last good settings do not hold", n)
		}
		if n := strings.Count(r.log.String(), "going on with these"); n != 1 {
			t.Errorf("the agent was opened anew %d times for one change", n)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// obstruct puts a file where the spool of the stream press has to be.
func (r *ruled) obstruct() {
	r.Helper()
	path := filepath.Join(r.dir, "state", "streams", "press")
	if err := errors.Join(os.RemoveAll(path), os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600)); err != nil {
		r.Fatal(err)
	}
}

func TestSettingsThatTheAgentCannotOpenWithAreRefusedAndItGoesOn(t *testing.T) {
	inRuled(t, withoutSocket, func(r *ruled) {
		r.obstruct()
		stop := r.start()
		r.online()
		r.desire(`{"telemetry":{"sensors":{"interval":"10s"},"streams":{"press":{"ttl":"1m"}}}}`)
		if said := r.told(false); !strings.Contains(said, "streams/press") {
			t.Error(said)
		}
		time.Sleep(10 * time.Minute)
		if n := strings.Count(r.log.String(), "going on with these"); n != 1 || r.machine() != 2 || !r.cloud.Online(gatewayID) {
			t.Errorf("tried %d times, %d readings, online: %v", n, r.machine(), r.cloud.Online(gatewayID))
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestSettingsThatLetNoAgentBeginAreGivenUpAfterThreeBoots(t *testing.T) {
	inRuled(t, withoutSocket, func(r *ruled) {
		stop := r.start()
		r.online()
		r.desire(`{"telemetry":{"streams":{"press":{"ttl":"1m"}}}}`)
		r.told(true)
		for range 5 { // being stopped in an orderly way is no fault of theirs
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			stop = r.start()
			r.wait("the stream is there", func() bool { _, own := r.status().Streams["press"]; return own })
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		r.obstruct()
		for n := range 3 {
			stop = r.start()
			synctest.Wait()
			if err := stop(); err == nil {
				t.Fatalf("boot %d went well: the story is another one", n)
			}
		}
		stop = r.start()
		if said := r.told(false); !strings.Contains(said, "the agent has ended 3 times") {
			t.Error(said)
		}
		if _, own := r.status().Streams["press"]; own {
			t.Error("the settings hold all the same")
		}
		r.desire(`{"telemetry":{"streams":{"press":null}}}`)
		r.told(true)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestNoPromisedReadingIsLostWhileTheCloudChangesSettings(t *testing.T) {
	onSockets(t, fmt.Sprintf(allowed, "run/ingest.sock"), func(r *ruled) {
		stop := r.start()
		r.online()
		var mu sync.Mutex
		promised, refused := map[string]bool{}, ""
		over := make(chan struct{})
		var senders sync.WaitGroup
		for _, stream := range []string{"press", "other"} {
			senders.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-over:
						return
					default:
					}
					body := fmt.Sprintf(`{"%s":%d}`, stream, n)
					code, said := r.ask("POST", "/v1/telemetry/"+stream, body)
					if code == 200 || code == 202 {
						mu.Lock()
						promised[body] = true
						mu.Unlock()
					} else {
						mu.Lock()
						refused = said
						mu.Unlock()
						time.Sleep(10 * time.Millisecond)
					}
				}
			})
		}
		for _, patch := range []string{`{"streams":{"press":{"ttl":"1h","within":"10s"}}}`, `{"streams":{"press":{"ttl":"2h","within":null}}}`, `{"streams":null}`, `{"sensors":{"interval":"500ms"}}`} {
			time.Sleep(300 * time.Millisecond)
			r.desire(`{"telemetry":` + patch + `}`)
			r.told(true)
		}
		close(over)
		senders.Wait()
		r.wait("all has arrived", func() bool {
			got := map[string]bool{}
			for _, m := range r.cloud.Received(gatewayID) {
				got[string(m.Body)] = true
			}
			for body := range promised {
				if !got[body] {
					return false
				}
			}
			return true
		})
		if n := strings.Count(r.log.String(), "going on with these"); n != 4 || len(promised) < 20 {
			t.Errorf("%d changes, %d readings promised, the last refusal: %s", n, len(promised), refused)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})
}
