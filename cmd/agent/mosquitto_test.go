package main

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
	"github.com/devid-agent/devid-agent/sim"
)

// broker is mosquitto with mutual TLS in the hub's place, and an independent subscriber that writes down what comes.
type broker struct {
	dir, address string

	mu  sync.Mutex
	got map[uint64]int // by number, how often
}

// startBroker starts mosquitto: it lets in who has a certificate of the simulated Device Registry, as its common name.
func startBroker(t *testing.T, dir string, cloud *sim.Cloud) *broker {
	t.Helper()
	b := &broker{dir: dir, address: freePort(t), got: map[uint64]int{}}
	own := keystest.NewAuthority(t)
	server, err := keystest.Generate(keys.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	chain := own.Certify(t, sim.HubHost, server)
	b.write(t, "server.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: chain.Certificate[0]}))
	b.write(t, "server.key", keyPEM(t, server))
	b.write(t, "hubroots.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.Certificate.Raw}))
	b.write(t, "clients.pem", append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cloud.OperationalCA().Raw}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cloud.FactoryCA().Raw})...))
	b.write(t, "acl", []byte("pattern readwrite devices/%u/#\nuser auditor\ntopic read #\n"))
	host, port, _ := strings.Cut(b.address, ":")
	b.write(t, "mosquitto.conf", fmt.Appendf(nil, "listener %s %s\ncafile %s\ncertfile %s\nkeyfile %s\nrequire_certificate true\nuse_identity_as_username true\nallow_anonymous false\nacl_file %s\nuser root\n",
		port, host, b.file("clients.pem"), b.file("server.pem"), b.file("server.key"), b.file("acl")))
	start(t, program("mosquitto"), "-c", b.file("mosquitto.conf"))
	awaitListener(t, b.address)
	b.subscribe(t, cloud)
	return b
}

func (b *broker) file(name string) string { return filepath.Join(b.dir, name) }

func (b *broker) write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(b.file(name), content, 0o644); err != nil {
		t.Fatal(err)
	}
}

var properties = regexp.MustCompile(`[/&]seq=(\d+)`)

// subscribe follows all topics as "auditor".
func (b *broker) subscribe(t *testing.T, cloud *sim.Cloud) {
	t.Helper()
	key, err := keystest.Generate(keys.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := cloud.Bootstrap("auditor", key.Public(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	var certificates []byte
	for _, c := range chain {
		certificates = append(certificates, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	b.write(t, "auditor.pem", certificates)
	b.write(t, "auditor.key", keyPEM(t, key))
	host, port, _ := strings.Cut(b.address, ":")
	out := start(t, "stdbuf", "-oL", program("mosquitto_sub"), "-h", host, "-p", port, "--insecure", "--cafile", b.file("hubroots.pem"), "--cert", b.file("auditor.pem"),
		"--key", b.file("auditor.key"), "-q", "1", "-t", "devices/#", "-F", "%t", "-d")
	subscribed := make(chan struct{})
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if strings.Contains(lines.Text(), "SUBACK") {
				close(subscribed)
			}
			if m := properties.FindStringSubmatch(lines.Text()); m != nil && strings.HasPrefix(lines.Text(), "devices/") {
				b.note(m[1])
			}
		}
	}()
	select {
	case <-subscribed:
	case <-time.After(patience):
		t.Fatal("mosquitto_sub does not subscribe")
	}
}

func (b *broker) note(number string) {
	seq, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.got[seq]++
}

func (b *broker) has(seq uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.got[seq] > 0
}

// TestTheStoriesWithMosquittoAsTheHub plays first boot, readings, a renewal and the return of power with a real TPM
// and a broker that nobody here wrote. It issues no certificates: the renewal goes through DPS.
func TestTheStoriesWithMosquittoAsTheHub(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.cloud.SetPolicy(func(p *sim.Policy) { p.Life = 20 * time.Second })
	b := startBroker(t, d.dir, d.cloud)
	d.append(fmt.Sprintf(`provisioning: {dps: {id_scope: %s, connect: "%s", roots: roots.pem}}
hub: {connect: "%s", roots: hubroots.pem}
renewal: {issuer: dps}
`, sim.IDScope, d.cloud.DPSAddr(), b.address))

	var promised []uint64
	stop := d.run()
	for range 3 { // each turn: readings, until the next generation is in force
		generation := d.generation()
		d.until("the next generation", func() bool {
			if seq, err := d.hand(`{"bar":2.5}`); err == nil {
				promised = append(promised, seq)
			}
			return d.generation() > generation
		})
		if d.generation() == 2 {
			stop() // and the power returns in the middle of things
			stop = d.run()
		}
	}
	last := promised[len(promised)-1]
	d.until("the last promised reading arrives", func() bool { return b.has(last) })
	stop()
	lost := 0
	for _, seq := range promised {
		if !b.has(seq) {
			lost++
		}
	}
	if lost > 0 || len(promised) < 20 {
		t.Errorf("%d of %d promised readings did not arrive", lost, len(promised))
	}
	if n := d.tpm.Handles(); n != 0 {
		t.Errorf("%d objects are left in the TPM", n)
	}
}

func (d *desk) generation() uint64 {
	c, err := loadConfig(d.file)
	if err != nil {
		d.t.Fatal(err)
	}
	current, _, err := identityLook(c)
	if err != nil || current == nil {
		return 0
	}
	return current.Generation
}

// hand hands a reading to the running agent, as another program does.
func (d *desk) hand(body string) (seq uint64, err error) {
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(d.dir, "run", "ingest.sock"))
		}}}
	response, err := client.Post("http://agent/v1/telemetry/pressure", "application/json", strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	var answer struct{ Seq uint64 }
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return 0, err
	}
	if response.StatusCode != http.StatusOK {
		return 0, errors.New(response.Status)
	}
	return answer.Seq, nil
}

func keyPEM(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}
