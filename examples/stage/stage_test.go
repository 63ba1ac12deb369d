package stage

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/examples/process"
	"github.com/devid-agent/devid-agent/sim"
)

func received(seqs ...string) (all []sim.Message) {
	for _, seq := range seqs {
		all = append(all, sim.Message{Properties: map[string]string{"seq": seq}})
	}
	return all
}

func TestTheAuditTellsMissingFromRepeatedFromStrange(t *testing.T) {
	a := NewAudit(received("1", "3", "3", "6", "", "x"), 4)
	if want := (Audit{Taken: 6, Received: 3, Repeated: 1, Missing: []uint64{2, 4, 5}, Strange: 2}); !reflect.DeepEqual(a, want) {
		t.Errorf("%+v, want %+v", a, want)
	}
	if a.Some() != " [2 4 5]" {
		t.Errorf("people read %q", a.Some())
	}
	if got := NewAudit(received("1", "2"), 4).Missing; !slices.Equal(got, []uint64{3, 4}) {
		t.Errorf("%v are missing, want those that the agent gave last", got)
	}
	if a := NewAudit(received("2", "1"), 2); len(a.Missing) > 0 || a.Some() != "" {
		t.Errorf("%+v, and nothing is missing", a)
	}
}

func TestTheCloudHoldsWhatItHasGot(t *testing.T) {
	if all := received("7", "x"); !Holds(all, 7) || Holds(all, 8) || Holds(all, 0) {
		t.Error("it holds 7 and nothing else")
	}
}

func TestADeviceIsBornWithItsPapers(t *testing.T) {
	cloud, err := sim.New(sim.Temper{}, func(p *sim.Policy) { p.ECDSAServer = true })
	if err != nil {
		t.Fatal(err)
	}
	defer cloud.Close()
	dir := t.TempDir()
	if err := Papers(cloud, "gateway-1", dir); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "bootstrap.pem"), filepath.Join(dir, "bootstrap.key"))
	if err != nil || pair.Leaf.Subject.CommonName != "gateway-1" {
		t.Errorf("%v, %v", pair.Leaf, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "bootstrap.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v, %v", info, err)
	}
	if roots, err := os.ReadFile(filepath.Join(dir, "roots.pem")); err != nil || string(roots) != string(cloud.RootsPEM()) {
		t.Errorf("the roots: %v", err)
	}
}

func TestAConfigurationIsFilledIn(t *testing.T) {
	dir := t.TempDir()
	example, file := filepath.Join(dir, "example"), filepath.Join(dir, "agent.yaml")
	if err := os.WriteFile(example, []byte("id: ${DEVICE}\n${MORE}dps: ${DPS}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Configure(file, example, map[string]string{"DEVICE": "gateway-1", "DPS": "host:1"}); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "id: gateway-1\ndps: host:1\n" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestTheTPMAnswersAndKeepsItsState(t *testing.T) {
	if _, err := exec.LookPath("swtpm"); err != nil {
		t.Skip("install swtpm")
	}
	dir := t.TempDir()
	for range 2 { // the second finds the socket and the state of the first
		cmd, err := StartTPM(t.Context(), filepath.Join(dir, "tpm"), filepath.Join(dir, "sock"))
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("unix", filepath.Join(dir, "sock"))
		if err != nil {
			t.Fatal(err)
		}
		// TPM2_SelfTest(NO), TPM 2.0 Part 3, 10.2.
		if _, err := conn.Write([]byte{0x80, 1, 0, 0, 0, 11, 0, 0, 1, 0x43, 0}); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 10)
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Read(answer); err != nil || answer[9] != 0 {
			t.Errorf("%x, %v", answer, err)
		}
		_ = conn.Close()
		process.Kill(cmd)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "tpm", "*permall*")); len(files) != 1 {
		t.Errorf("the state is %v", files)
	}
	if _, err := StartTPM(t.Context(), filepath.Join(dir, "tpm"), filepath.Join(dir, strings.Repeat("long", 40))); err == nil {
		t.Error("a TPM that cannot start has started")
	}
}

func TestAProgramIsPromisedWhatTheAgentAnswersWith200(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var connections atomic.Int32
	server := &http.Server{
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context { connections.Add(1); return ctx },
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var body struct{ N int }
			if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.URL.Path != "/v1/telemetry/press" || body.N == 2 {
				http.Error(w, `{"error":"no room"}`, http.StatusInsufficientStorage)
				return
			}
			fmt.Fprintf(w, "{\"seq\":%d}\n", 40+body.N)
		}),
	}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	p := NewProgram(socket, 1)
	defer p.Close()
	for n, want := range []uint64{40, 41, 0, 43} {
		seq, err := p.Give(t.Context(), fmt.Appendf(nil, `{"n":%d}`, n))
		if seq != want || (err == nil) != (want > 0) {
			t.Errorf("reading %d: number %d, %v", n, seq, err)
		}
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections, want one that is used again", n)
	}
}

func TestTheLogIsToldInWords(t *testing.T) {
	var l Log
	for line, want := range map[string]string{
		`{"level":"INFO","msg":"agent starts"}`:                                                           "starts",
		`{"level":"INFO","msg":"connected","identity":{"gen":2,"hub":"h"}}`:                               "connected to h as generation 2",
		`{"level":"INFO","msg":"identity advanced","identity":{"gen":3,"key":"device-g3","serial":"5a"}}`: "is now generation 3: key device-g3 in the TPM, certificate 5a",
		`{"level":"INFO","msg":"switched identity","gap":20500000,"identity":{"gen":1}}`:                  "",
		`{"level":"INFO","msg":"switched identity","gap":20500000,"identity":{"gen":2}}`:                  "telemetry was silent for 21ms",
		`{"level":"WARN","msg":"not connected","err":"no route","hint":"plug it in"}`:                     "not connected: no route",
		`{"level":"WARN","msg":"the cloud reboots the machine"}`:                                          "the cloud reboots the machine",
		`{"level":"INFO","msg":"something else","err":"no route"}`:                                        "",
		`panic: runtime error`: "",
	} {
		if e, _ := l.Hear(line); e.Words() != want {
			t.Errorf("%s is told as %q", line, e.Words())
		}
	}
	if _, ok := l.Hear("Started devid-agent.service."); ok {
		t.Error("a word of systemd is an entry")
	}
	if l.Hint("route") != "plug it in" || l.Hint("disk") != "" {
		t.Errorf("hints %q and %q", l.Hint("route"), l.Hint("disk"))
	}
	l.Hear(`{"level":"ERROR","msg":"not connected","err":"no route","hint":"call somebody"}`)
	if got := l.Hint("water", "route"); got != "call somebody" {
		t.Errorf("the newest hint is %q", got)
	}
	if tail := l.Tail(); !strings.Contains(tail, "panic: runtime error") || !strings.HasSuffix(tail, `"call somebody"}`) {
		t.Error(tail)
	}
}

func TestOneBadLineSpoilsASummary(t *testing.T) {
	var v Verdicts
	v.Line(true, "good", "%d", 1)
	if !v.End("all is well") {
		t.Error("good lines are a bad summary")
	}
	v.Line(false, "bad", "%d", 2)
	v.Line(true, "good", "%d", 3)
	if v.End("all is well") {
		t.Error("a bad line is forgotten")
	}
}

func TestTheBoardsFiguresAreReadAsTheyWereWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "numbers.json")
	want := Board{Architecture: "arm64", SteadyKB: 11000, PeakKB: 14000, IdleSeconds: 60, IdleBytes: 5, IdleFlushes: 6, IdleSwitches: 7,
		Messages: 1000, MessageBytes: 8, FirstMessageS: 9.5, AgentFirstMS: 10}
	if ReadBoard(file) != nil {
		t.Error("there are figures before there is a file")
	}
	if err := want.Write(file); err != nil {
		t.Fatal(err)
	}
	if got := ReadBoard(file); got == nil || *got != want {
		t.Errorf("%+v", got)
	}
	for _, text := range []string{"", "{}", `{"messages":1000}`, `{"idle_seconds":60}`, "[1]"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if ReadBoard(file) != nil {
			t.Errorf("%q is a measurement", text)
		}
	}
}
