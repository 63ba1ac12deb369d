package proxy

import (
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

// tinyproxy starts Debian's proxy, which lets user line-1 with the password s3cret connect to port allowed.
func tinyproxy(t *testing.T, allowed string) (address string) {
	t.Helper()
	program, err := exec.LookPath("tinyproxy")
	if err != nil {
		t.Skip("install tinyproxy-bin")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(address)
	file := filepath.Join(t.TempDir(), "conf")
	text := fmt.Sprintf("Port %s\nListen 127.0.0.1\nTimeout 30\nMaxClients 10\nBasicAuth line-1 s3cret\nConnectPort %s\nLogLevel Error\n", port, allowed)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(program, "-d", "-c", file)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = command.Process.Kill(); _ = command.Wait() })
	return address
}

// echo is a server that says everything back.
func echo(t *testing.T) (port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); _, _ = io.Copy(c, c) }()
		}
	}()
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port
}

// through dials until the proxy is up.
func through(t *testing.T, user *url.Userinfo, proxy, address string) (net.Conn, error) {
	t.Helper()
	dial := Dialer(&url.URL{Scheme: "http", Host: proxy, User: user}, nil, nil)
	deadline := time.Now().Add(10 * time.Second)
	for {
		conn, err := dial(t.Context(), "tcp", address)
		if err == nil || !strings.Contains(err.Error(), "connection refused") || time.Now().After(deadline) {
			return conn, err
		}
		<-time.After(20 * time.Millisecond)
	}
}

func TestTinyproxyOpensTheTunnelAndItsRefusalsAreUnderstood(t *testing.T) {
	port := echo(t)
	proxy, user := tinyproxy(t, port), url.UserPassword("line-1", "s3cret")
	conn, err := through(t, user, proxy, "localhost:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	got := make([]byte, 5)
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	for name, s := range map[string]struct {
		user    *url.Userinfo
		address string
		kind    fault.Kind
		words   string
	}{
		"no user":        {nil, "localhost:" + port, fault.Operator, "login"},
		"wrong password": {url.UserPassword("line-1", "x"), "localhost:" + port, fault.Operator, "line-1"},
		"other port":     {user, "localhost:1", fault.Operator, "allow CONNECT to localhost:1"},
		"no such host":   {user, "nobody.invalid:" + port, fault.Transient, "does not get through to nobody.invalid"},
	} {
		_, err := through(t, s.user, proxy, s.address)
		if text := fmt.Sprint(err, " | ", fault.Hint(err)); fault.Of(err) != s.kind || !strings.Contains(text, s.words) {
			t.Errorf("%s: %v: %s", name, fault.Of(err), text)
		}
	}
}
