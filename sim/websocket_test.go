package sim_test

import (
	"bufio"
	"bytes"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

// ws is the client's side of a WebSocket, RFC 6455, made by hand.
type ws struct {
	net.Conn
	in   *bufio.Reader
	rest []byte
	text bool // sends frames of text, where they must be binary
	size int  // of a frame's payload; 0 is as it comes
}

// dialWS connects TLS and shakes hands; status 101 is a WebSocket.
func dialWS(t *testing.T, cloud *sim.Cloud, host string, cert credential, protocol string) (*client, *ws, int) {
	t.Helper()
	raw, err := cloud.Dial(t.Context(), "tcp", host+":443")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cloud.RootsPEM())
	config := &tls.Config{RootCAs: roots, ServerName: host}
	if len(cert.chain) > 0 {
		config.Certificates = []tls.Certificate{cert.tls()}
	}
	conn := tls.Client(raw, config)
	nonce := make([]byte, 16)
	rand.Read(nonce)
	fmt.Fprintf(conn, "GET /$iothub/websocket?iothub-no-client-cert=true HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: %s\r\n\r\n",
		host, base64.StdEncoding.EncodeToString(nonce), protocol)
	in := bufio.NewReader(conn)
	answer, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode == 101 && answer.Header.Get("Sec-WebSocket-Protocol") != "mqtt" {
		t.Errorf("header %v", answer.Header)
	}
	w := &ws{Conn: conn, in: in}
	return &client{t, w}, w, answer.StatusCode
}

func (w *ws) Write(b []byte) (int, error) {
	size := w.size
	if size == 0 {
		size = len(b)
	}
	for rest := b; len(rest) > 0; {
		n := min(size, len(rest))
		if err := w.frame(0x82, rest[:n]); err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return len(b), nil
}

// frame sends one masked frame.
func (w *ws) frame(first byte, payload []byte) error {
	if w.text && first == 0x82 {
		first = 0x81
	}
	head := []byte{first}
	if len(payload) < 126 {
		head = append(head, 0x80|byte(len(payload)))
	} else {
		head = append(head, 0x80|127)
		head = binary.BigEndian.AppendUint64(head, uint64(len(payload)))
	}
	mask := []byte{1, 2, 3, 4}
	head = append(head, mask...)
	for i, c := range payload {
		head = append(head, c^mask[i%4])
	}
	_, err := w.Conn.Write(head)
	return err
}

func (w *ws) Read(b []byte) (int, error) {
	for len(w.rest) == 0 {
		var head [2]byte
		if _, err := io.ReadFull(w.in, head[:]); err != nil {
			return 0, err
		}
		n := int(head[1])
		if n == 126 {
			var long [2]byte
			io.ReadFull(w.in, long[:])
			n = int(binary.BigEndian.Uint16(long[:]))
		}
		payload := make([]byte, n)
		if _, err := io.ReadFull(w.in, payload); err != nil {
			return 0, err
		}
		switch head[0] {
		case 0x82:
			w.rest = payload
		case 0x88:
			return 0, io.EOF
		}
	}
	n := copy(b, w.rest)
	w.rest = w.rest[n:]
	return n, nil
}

func TestADeviceEnrollsAndSendsOverWebSocket(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		c, w, status := dialWS(t, cloud, sim.DPSHost, bootstrap(t, cloud, "d"), "mqtt")
		if status != 101 || c.hello(hello{id: "d", user: dpsUser("d", newDPS)}) != 0 {
			t.Fatalf("%d: %s", status, reason(cloud))
		}
		w.size = 3 // packets need not be whole in a message
		c.subscribe(1, "$dps/registrations/res/#", 1)
		c.want(0x90, 0, 1, 1)
		key := newKey(t, elliptic.P384())
		_, s := c.enroll(fmt.Sprintf(`{"csr":%q}`, csr(t, "d", key)))
		if asked, _ := cloud.LastRegistration("d"); asked.Transport != "websocket" {
			t.Errorf("%+v", asked)
		}

		c, w, status = dialWS(t, cloud, sim.HubHost, credential{key, parseChain(t, s.Chain)}, "mqtt")
		if status != 101 || c.hello(hello{id: "d", user: hubUser("d", newHub)}) != 0 {
			t.Fatalf("%d: %s", status, reason(cloud))
		}
		big := strings.Repeat("x", 100_000)
		c.publish(1, 1, events("d", ""), big)
		c.want(0x40, 0, 1)
		if got := cloud.Received("d"); len(got) != 1 || string(got[0].Body) != big {
			t.Errorf("received %d", len(got))
		}
		w.frame(0x89, []byte("are you there")) // a ping, between packets
		c.send(frame(0xc0))
		c.want(0xd0)
		cloud.DisableDevice("d")
		c.closed()
	})
}

func TestWhatAWebSocketMayNot(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		cert := operational(t, cloud, "d")
		if _, _, status := dialWS(t, cloud, sim.HubHost, cert, "amqp"); status != 400 {
			t.Errorf("another sub-protocol: %d", status)
		}
		c, w, _ := dialWS(t, cloud, sim.HubHost, cert, "mqtt")
		w.text = true
		c.send(hello{id: "d", user: hubUser("d", newHub)}.bytes())
		if said := c.closed(); len(said) != 0 {
			t.Errorf("text is answered: %x", said)
		}
		c, _, _ = dialWS(t, cloud, sim.HubHost, credential{}, "mqtt")
		if code := c.hello(hello{id: "d", user: hubUser("d", newHub)}); code != 5 {
			t.Errorf("without a certificate: CONNACK %d", code)
		}
		if n := cloud.Refusals("", sim.AtConnect); n != 3 {
			t.Errorf("%d refusals", n)
		}
		if said := c.closed(); bytes.Contains(said, []byte("HTTP")) {
			t.Errorf("after the refusal: %x", said)
		}
	})
}

func TestEverythingListensOnRealSockets(t *testing.T) {
	cloud := started(t, sim.Temper{}, fastKey)
	if cloud.DPSHTTPAddr() == "" || cloud.DPSHTTPAddr() != cloud.DPSWebSocketAddr() || cloud.HubWebSocketAddr() != cloud.RegistryAddr() || cloud.ManagementAddr() == "" {
		t.Errorf("%s %s %s", cloud.DPSHTTPAddr(), cloud.HubWebSocketAddr(), cloud.ManagementAddr())
	}
	own := []byte("an own key of thirty-two bytes..")
	cloud.Enroll(sim.Enrollment{Registration: "d", SymmetricKey: own})
	b := browse(t, cloud, sim.DPSHost, credential{}).with("Authorization", token(sim.IDScope+"/registrations/d", "registration", own))
	b.client.Transport.(*http.Transport).DialContext = (&net.Dialer{Timeout: time.Minute}).DialContext
	b.host = "localhost" + cloud.DPSHTTPAddr()[strings.LastIndex(cloud.DPSHTTPAddr(), ":"):]
	b.want(202, "PUT", "/"+sim.IDScope+"/registrations/d/register?api-version=2019-03-31", `{"registrationId":"d"}`)
}
