package ingest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// disk is a real spool, and a look at what the next boot would find in it.
func disk(t testing.TB) (live *spool.Spool, found func() []string) {
	t.Helper()
	dir := t.TempDir()
	live, err := spool.Open(dir, spool.Limits{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return live, func() (all []string) {
		t.Helper()
		after, err := spool.Open(dir, spool.Limits{}, nil) // nothing was closed
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range after.Peek(1 << 20) {
			all = append(all, r.Stream+" "+string(r.Body))
		}
		return all
	}
}

// need is the path of program, which the Debian package brings.
func need(t testing.TB, program, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skip("install " + pkg)
	}
	return path
}

func run(t testing.TB, stdin string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
	return string(out)
}

func numbers(n int) (lines string, want []string) {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "{\"n\":%d}\n", i)
		want = append(want, fmt.Sprintf("boiler.temp {\"n\":%d}", i))
	}
	return b.String(), want
}

func TestMosquittoPubIsAClientAtEachQoS(t *testing.T) {
	pub := need(t, "mosquitto_pub", "mosquitto-clients")
	live, found := disk(t)
	tcp, socket := listen(t, &MQTT{Server: &Server{Spool: live}, Listen: "127.0.0.1:0"}), listen(t, &MQTT{Server: &Server{Spool: live}})
	_, port, _ := net.SplitHostPort(tcp.addr.String())
	lines, want := numbers(200)
	for i, qos := range []string{"0", "1", "2"} {
		run(t, lines, pub, "-h", "127.0.0.1", "-p", port, "-q", qos, "-t", "boiler/temp", "-l")
		tcp.settled(t)
		if got := found(); fmt.Sprint(got[200*i:]) != fmt.Sprint(want) {
			t.Errorf("-q %s: %d of %d readings in order: %.200v", qos, len(got)-200*i, len(want), got[200*i:])
		}
	}
	run(t, "", pub, "--unix", socket.addr.String(), "-q", "1", "-t", "hall", "-m", "1", "--will-topic", "status", "--will-payload", "0", "-r")
	socket.settled(t)
	if got := found()[600:]; fmt.Sprint(got) != "[hall 1]" {
		t.Errorf("over the socket: %v", got)
	}
}

func TestMosquittoPubIsToldThatItsPasswordIsWrong(t *testing.T) {
	pub := need(t, "mosquitto_pub", "mosquitto-clients")
	w := listen(t, &MQTT{Server: &Server{Spool: &shelf{}}, Listen: "127.0.0.1:0", Users: map[string]string{"plc": "secret"}})
	_, port, _ := net.SplitHostPort(w.addr.String())
	args := []string{"-h", "127.0.0.1", "-p", port, "-q", "1", "-t", "a", "-m", "1", "-u", "plc", "-P"}
	run(t, "", pub, append(args, "secret")...)
	out, err := exec.CommandContext(t.Context(), pub, append(args, "guess")...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "onnection") {
		t.Errorf("%v: %s", err, out)
	}
	w.settled(t)
	if log := w.log.String(); !strings.Contains(log, "password is wrong") || strings.Contains(log, "guess") {
		t.Errorf("logged %s", log)
	}
}

func TestPahoGoIsAClient(t *testing.T) {
	live, found := disk(t)
	w := listen(t, &MQTT{Server: &Server{Spool: live}, Listen: "127.0.0.1:0"})
	c := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + w.addr.String()).SetClientID("paho").SetCleanSession(false).SetKeepAlive(2 * time.Second))
	if token := c.Connect(); token.WaitTimeout(10*time.Second) && token.Error() != nil {
		t.Fatal(token.Error())
	}
	var tokens []paho.Token
	for i := range 300 {
		tokens = append(tokens, c.Publish("boiler/temp", byte(i%3), false, fmt.Sprint(i)))
	}
	for i, token := range tokens {
		if !token.WaitTimeout(20*time.Second) || token.Error() != nil {
			t.Fatalf("publish %d: %v", i, token.Error())
		}
	}
	token := c.Subscribe("#", 1, nil).(*paho.SubscribeToken)
	if !token.WaitTimeout(10*time.Second) || token.Result()["#"] != 0x80 {
		t.Errorf("the subscription: %v, %v", token.Result(), token.Error())
	}
	c.Disconnect(250)
	w.settled(t)
	if got := found(); len(got) != 300 {
		t.Errorf("%d of 300 readings", len(got))
	}
}

const pahoPython = `
import sys, paho.mqtt.client as mqtt
c = mqtt.Client(client_id="py", clean_session=False)
c.will_set("status", "gone", qos=1)
c.connect("127.0.0.1", int(sys.argv[1]), keepalive=5)
c.loop_start()
sent = [c.publish("boiler/temp", str(i), qos=i % 3) for i in range(150)]
for s in sent:
    s.wait_for_publish(20)
assert all(s.is_published() for s in sent)
c.disconnect()
c.loop_stop()
`

func TestPahoPythonIsAClient(t *testing.T) {
	python := systemPython(t)
	if exec.CommandContext(t.Context(), python, "-c", "import paho.mqtt.client").Run() != nil {
		t.Skip("install python3-paho-mqtt")
	}
	live, found := disk(t)
	w := listen(t, &MQTT{Server: &Server{Spool: live}, Listen: "127.0.0.1:0"})
	_, port, _ := net.SplitHostPort(w.addr.String())
	run(t, "", python, "-c", pahoPython, port)
	w.settled(t)
	if got := found(); len(got) != 150 {
		t.Errorf("%d of 150 readings, and no will: %v", len(got), got[max(0, len(got)-2):])
	}
}

// systemPython is Debian's python3, which sees Debian's modules.
func systemPython(t testing.TB) string {
	t.Helper()
	if path, err := exec.LookPath("/usr/bin/python3"); err == nil {
		return path
	}
	return need(t, "python3", "python3")
}

// A gateway with mosquitto on it keeps it: a bridge brings what its clients publish, with the default settings of
// bridges, which announce themselves and publish their state.
func TestMosquittoBridgeBringsWhatItsClientsPublish(t *testing.T) {
	pub := need(t, "mosquitto_pub", "mosquitto-clients")
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin")
	broker := need(t, "mosquitto", "mosquitto")
	live, found := disk(t)
	w := listen(t, &MQTT{Server: &Server{Spool: live}, Listen: "127.0.0.1:0"})
	dir := shortDir(t)
	socket, config := filepath.Join(dir, "m.sock"), filepath.Join(dir, "m.conf")
	text := fmt.Sprintf("listener 0 %s\nallow_anonymous true\nuser root\n", socket) +
		strings.ReplaceAll(blocks(t, "conf")[0].code, "127.0.0.1:1884", w.addr.String())
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(broker, "-c", config)
	log := &logged{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	until10s(t, func() bool { return w.Server.Readings().Ignored > 0 }) // the bridge has told its state
	lines, want := numbers(100)
	run(t, lines, pub, "--unix", socket, "-q", "1", "-t", "boiler/temp", "-l")
	until10s(t, func() bool { return w.Server.Readings().Taken >= 100 })
	if got := found(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%d of %d readings in order\n%s", len(got), len(want), log)
	}
}

// until10s looks until it is so, at another program's pace.
func until10s(t testing.TB, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not come to that within 10 s")
		}
	}
}

func TestReadingsThatWereAcknowledgedAreThereAfterAPowerCut(t *testing.T) {
	live, found := disk(t)
	w := listen(t, &MQTT{Server: &Server{Spool: live}})
	var all sync.WaitGroup
	for i := range 8 {
		c := w.connected(t, fmt.Sprint(i))
		all.Go(func() {
			for id := uint16(1); id <= 100; id++ {
				c.send(message1(id, fmt.Sprintf("s%d", i), fmt.Sprint(id)))
			}
			for id := byte(1); id <= 100; id++ {
				c.expect(puback<<4, 2, 0, id)
			}
		})
	}
	all.Wait()
	next := map[string]int{}
	for _, r := range found() {
		stream, n, _ := strings.Cut(r, " ")
		if next[stream]++; n != fmt.Sprint(next[stream]) {
			t.Fatalf("reading %s of %s comes as number %d", n, stream, next[stream])
		}
	}
	for i := range 8 {
		if n := next[fmt.Sprintf("s%d", i)]; n != 100 {
			t.Errorf("stream s%d has %d of 100", i, n)
		}
	}
}
