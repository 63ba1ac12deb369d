package dps

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/internal/mtls"
	"github.com/devid-agent/devid-agent/internal/proxy"
	"github.com/devid-agent/devid-agent/sim"
)

// tinyproxy starts Debian's proxy, for those who know its user.
func tinyproxy(t *testing.T) *url.URL {
	t.Helper()
	program, err := exec.LookPath("tinyproxy")
	if err != nil {
		t.Skip("install tinyproxy-bin")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(address)
	file := filepath.Join(t.TempDir(), "conf")
	text := fmt.Sprintf("Port %s\nListen 127.0.0.1\nTimeout 30\nMaxClients 10\nBasicAuth line-1 s3cret\nLogLevel Error\n", port)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(program, "-d", "-c", file)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = command.Process.Kill(); _ = command.Wait() })
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			return &url.URL{Scheme: "http", User: url.User("line-1"), Host: address}
		}
	}
	t.Fatal("tinyproxy does not listen")
	return nil
}

func TestEveryTransportGoesThroughAProxy(t *testing.T) {
	cloud, err := sim.Start(t.Context(), sim.Temper{RetryAfter: time.Second, NoPollLimit: true}, func(p *sim.Policy) { p.ECDSAServer = true })
	if err != nil {
		t.Fatal(err)
	}
	defer cloud.Close()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cloud.RootsPEM())
	through := proxy.Dialer(tinyproxy(t), func() (string, error) { return "s3cret", nil }, nil)
	for transport, address := range map[string]string{MQTT: cloud.DPSAddr(), WebSocket: cloud.DPSWebSocketAddr(), HTTPS: cloud.DPSHTTPAddr()} {
		w := &world{T: t, cloud: cloud, key: newKey(t)}
		w.bootstrap = w.factory(device)
		w.config = Config{IDScope: sim.IDScope, Roots: mtls.Fixed(roots), Connect: address, Transport: transport, Dial: through,
			Bootstrap: func(context.Context) (tls.Certificate, error) { return w.bootstrap, nil }}
		w.wantGrant(w.enroll())
		if got, _ := cloud.LastRegistration(device); got.Transport != transport {
			w.Errorf("came by %s", got.Transport)
		}
	}
}
