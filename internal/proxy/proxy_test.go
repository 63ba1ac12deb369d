package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
)

const target = "hub.invalid:8883" // a name that nobody resolves

// world is a proxy in memory that a test plays, and the way to it.
type world struct {
	*tunnels
	serve func(conn net.Conn, request *http.Request)
	asked chan *http.Request
}

func newWorld(t *testing.T, address string, serve func(conn net.Conn, request *http.Request)) *world {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	if err := Check(u); err != nil {
		t.Fatal(err)
	}
	w := &world{serve: serve, asked: make(chan *http.Request, 1)}
	w.tunnels = &tunnels{proxy: u, dial: w.pipe, password: func() (string, error) { return "s3cret", nil }}
	return w
}

func (w *world) pipe(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	go w.answer(there)
	return here, nil
}

func (w *world) answer(conn net.Conn) {
	defer conn.Close()
	r, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	w.asked <- r
	w.serve(conn, r)
}

// says is a proxy that answers with text and hangs up.
func says(text string) func(net.Conn, *http.Request) {
	return func(conn net.Conn, _ *http.Request) { _, _ = io.WriteString(conn, text) }
}

func TestProxyGetsTheNameUnresolvedAndTheTunnelBeginsRightBehindTheHeader(t *testing.T) {
	for _, header := range []string{
		"HTTP/1.1 200 Connection established\r\n\r\n",
		"HTTP/1.0 200 OK\nVia: 1.1 a\n\n",
		"HTTP/1.1 299 Fine\r\nContent-Length: 12\r\n\r\n", // ignored: RFC 9110, 9.3.6
	} {
		w := newWorld(t, "http://proxy.test:3128", says(header+"\r\nfirst bytes"))
		conn, err := w.open(t.Context(), "tcp", target)
		if err != nil {
			t.Fatalf("%q: %v", header, err)
		}
		if got, err := io.ReadAll(conn); err != nil || string(got) != "\r\nfirst bytes" {
			t.Errorf("%q: %q, %v", header, got, err)
		}
		r := <-w.asked
		if r.Method != http.MethodConnect || r.Host != target || r.Header.Get("Proxy-Authorization") != "" {
			t.Errorf("%s %s %v", r.Method, r.Host, r.Header)
		}
	}
}

func TestPasswordGoesToTheProxyOnlyWhereTheURLHasAUser(t *testing.T) {
	w := newWorld(t, "http://line%201@proxy.test", says("HTTP/1.1 200 OK\r\n\r\n"))
	if _, err := w.open(t.Context(), "tcp", target); err != nil {
		t.Fatal(err)
	}
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte("line 1:s3cret"))
	if got := (<-w.asked).Header.Get("Proxy-Authorization"); got != want {
		t.Errorf("%q", got)
	}
	w.password = func() (string, error) { return "", fault.AskOperator(errors.New("no such file"), "make it") }
	if _, err := w.open(t.Context(), "tcp", target); fault.Hint(err) != "make it" {
		t.Errorf("%v", err)
	}
}

func TestRefusalsSayWhoCanHelpAndNeverThePassword(t *testing.T) {
	for name, s := range map[string]struct {
		address, answer string
		kind            fault.Kind
		after           time.Duration
		words           string
	}{
		"login wanted":        {"http://p", "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\n\r\n", fault.Operator, 0, "USER@HOST"},
		"login refused":       {"http://u@p", "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\n\r\n", fault.Operator, 0, `does not accept user "u"`},
		"login of Windows":    {"http://u@p", "HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM\r\nProxy-Authenticate: Negotiate\r\n\r\n", fault.Operator, 0, "Basic alone"},
		"port not allowed":    {"http://p", "HTTP/1.1 403 Forbidden\r\n\r\n", fault.Operator, 0, "allow CONNECT to " + target},
		"no route":            {"http://p", "HTTP/1.1 502 Bad Gateway\r\n\r\n", fault.Transient, 0, "does not get through"},
		"busy":                {"http://p", "HTTP/1.1 503 Busy\r\nRetry-After: 90\r\n\r\n", fault.Transient, 90 * time.Second, "503 Busy"},
		"busy for ever":       {"http://p", "HTTP/1.1 429 X\r\nRetry-After: 4000000000\r\n\r\n", fault.Transient, 24 * time.Hour, "429"},
		"target too slow":     {"http://p", "HTTP/1.1 504 Gateway Timeout\r\n\r\n", fault.Transient, 0, "504"},
		"web server":          {"http://p", "HTTP/1.1 405 Method Not Allowed\r\nContent-Type: text/html\r\n\r\n<html>", fault.Operator, 0, "no tunnels"},
		"portal":              {"http://p", "HTTP/1.1 302 Found\r\nLocation: http://login/\r\n\r\n", fault.Operator, 0, "portal"},
		"portal that is fine": {"http://p", "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 900\r\n\r\n<html>", fault.Operator, 0, "web page"},
		"something else":      {"http://p", "SSH-2.0-OpenSSH_9.2\r\n", fault.Operator, 0, "not HTTP"},
		"nonsense":            {"http://p", "HTTP/1.1 \xff\r\n\r\n", fault.Operator, 0, "no HTTP proxy"},
		"speaks TLS":          {"http://p", "\x15\x03\x01\x00\x02\x02\x16", fault.Operator, 0, "https:// instead"},
		"endless":             {"http://p", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", maxHeader), fault.Operator, 0, "16384 bytes"},
		"hangs up":            {"http://p", "", fault.Transient, 0, "hung up without an answer"},
		"dirty words":         {"http://p", "HTTP/1.1 500 a\x1b[31mb\r\n\r\n", fault.Transient, 0, "500 a?[31mb"},
	} {
		_, err := newWorld(t, s.address, says(s.answer)).open(t.Context(), "tcp", target)
		if err == nil {
			t.Errorf("%s: a tunnel", name)
			continue
		}
		text := err.Error() + " | " + fault.Hint(err)
		if fault.Of(err) != s.kind || fault.RetryAfter(err) != s.after || !strings.Contains(text, s.words) {
			t.Errorf("%s: %v, %v: %s", name, fault.Of(err), fault.RetryAfter(err), text)
		}
		if strings.Contains(text, "s3cret") {
			t.Errorf("%s: the password is in %s", name, text)
		}
	}
}

func TestProxyThatNeverAnswersEndsWithWordsAndOnStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "http://p", func(conn net.Conn, _ *http.Request) { _, _ = io.Copy(io.Discard, conn) })
		start := time.Now()
		_, err := w.open(t.Context(), "tcp", target)
		if fault.Of(err) != fault.Transient || !strings.Contains(err.Error(), "no tunnel within") || time.Since(start) != patience {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		<-w.asked
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := w.open(ctx, "tcp", target); !fault.Stopped(err) {
			t.Errorf("%v", err)
		}
	})
}

func TestTunnelThroughAnHTTPSProxy(t *testing.T) {
	ca := keystest.NewAuthority(t)
	key, err := keystest.Generate(keys.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	server := &tls.Config{Certificates: []tls.Certificate{ca.Certify(t, "proxy.test", key)}}
	w := newWorld(t, "https://u@proxy.test", says("HTTP/1.1 200 OK\r\n\r\nhello"))
	w.dial = func(_ context.Context, _, address string) (net.Conn, error) {
		if address != "proxy.test:443" {
			t.Errorf("dialed %s", address)
		}
		here, there := net.Pipe()
		go w.answer(tls.Server(there, server))
		return here, nil
	}
	if _, err := w.open(t.Context(), "tcp", target); fault.Of(err) != fault.Operator || !strings.Contains(fault.Hint(err), "system's store") {
		t.Errorf("a foreign proxy: %v: %v", fault.Of(err), err)
	}
	w.roots = ca.Pool
	conn, err := w.open(t.Context(), "tcp", target)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	got := make([]byte, 5)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	if below, ok := conn.(interface{ NetConn() net.Conn }); !ok || below.NetConn() == nil {
		t.Errorf("the socket below %T is not to be had", conn)
	}
	w.dial = func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		go func() {
			_, _ = there.Read(make([]byte, 4096))
			says("HTTP/1.1 400 Bad Request\r\n\r\n")(there, nil)
			there.Close()
		}()
		return here, nil
	}
	if _, err := w.open(t.Context(), "tcp", target); fault.Of(err) != fault.Operator || !strings.Contains(fault.Hint(err), "http:// instead") {
		t.Errorf("a plain proxy: %v: %v %q", fault.Of(err), err, fault.Hint(err))
	}
}

func TestUnreachableProxyIsTransientAndNamed(t *testing.T) {
	w := newWorld(t, "http://p", nil)
	w.dial = func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.DNSError{Err: "no such host", Name: "p"}
	}
	_, err := w.open(t.Context(), "tcp", target)
	if _, ok := errors.AsType[*net.DNSError](err); !ok || fault.Of(err) != fault.Transient || !strings.Contains(err.Error(), "reach the proxy p") {
		t.Errorf("%v", err)
	}
}

func TestNothingButAHostAndAPortIsAskedFor(t *testing.T) {
	for _, address := range []string{"hub", "", "hub:1\r\nX: y", "hu b:1", "hüb:1"} {
		_, err := newWorld(t, "http://p", nil).open(t.Context(), "tcp", address)
		if fault.Of(err) != fault.Permanent {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func TestCheckNamesWhatIsNoProxy(t *testing.T) {
	for address, words := range map[string]string{
		"socks5://h:1080": "http://HOST:PORT", "proxy:3128": "http://HOST:PORT", "http://:80": "no host",
		"http://h/path": "nothing may follow", "http://h?x": "nothing may follow", "https://a%3Ab:pw@h": "no colon",
	} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if err := Check(u); err == nil || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "pw") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 Connection established\r\n\r\nrest"))
	f.Add([]byte("HTTP/1.1 407 X\r\nProxy-Authenticate: Basic\r\nProxy-Authenticate: NTLM\r\n\r\n"))
	f.Add([]byte("HTTP/1.0 503 Busy\nRetry-After: 99999999999999999999\n\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n"))
	f.Add([]byte("\x15\x03\x01\x00\x02\x02\x16"))
	t := &tunnels{proxy: &url.URL{Scheme: "http", Host: "p"}}
	f.Fuzz(func(test *testing.T, said []byte) {
		in := strings.NewReader(string(said))
		header, err := readHeader(in)
		if len(header)+in.Len() != len(said) {
			test.Errorf("%d bytes of the tunnel are lost", len(said)-len(header)-in.Len())
		}
		if err != nil {
			err = t.silent(header, err)
		} else {
			err = t.judge(target, header)
		}
		if wait := fault.RetryAfter(err); wait < 0 || wait > longest {
			test.Errorf("a wait of %v", wait)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\x1b\r") {
			test.Errorf("%q", err)
		}
	})
}
