package sim_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

// client is a device that speaks MQTT byte by byte. It shares no code with the cloud.
type client struct {
	t    *testing.T
	conn net.Conn
}

// wire connects TLS to one of the two services.
func wire(t *testing.T, cloud *sim.Cloud, host string, cert credential, change ...func(*tls.Config)) (*client, error) {
	t.Helper()
	raw, err := cloud.Dial(t.Context(), "tcp", host+":8883")
	if err != nil {
		return nil, err
	}
	return secure(t, cloud, raw, host, cert, change...)
}

func secure(t *testing.T, cloud *sim.Cloud, raw net.Conn, host string, cert credential, change ...func(*tls.Config)) (*client, error) {
	t.Helper()
	t.Cleanup(func() { raw.Close() })
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(cloud.RootsPEM()) {
		t.Fatal("no roots")
	}
	config := &tls.Config{RootCAs: roots, ServerName: host}
	if len(cert.chain) > 0 {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			c := cert.tls()
			return &c, nil
		}
	}
	for _, f := range change {
		f(config)
	}
	conn := tls.Client(raw, config)
	return &client{t, conn}, conn.HandshakeContext(context.Background())
}

func str(s string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...)
}

// frame is a packet. Lengths above 127 take a second byte, and so on.
func frame(first byte, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	return append(append([]byte{first}, binary.AppendUvarint(nil, uint64(len(body)))...), body...)
}

type hello struct {
	level      byte
	flags      byte
	keepAlive  uint16
	id, user   string
	password   string
	afterwards []byte
}

func (h hello) bytes() []byte {
	if h.level == 0 {
		h.level = 4
	}
	if h.flags == 0 {
		h.flags = 0x82
	}
	var password []byte
	if h.password != "" {
		h.flags |= 0x40
		password = str(h.password)
	}
	return frame(0x10, str("MQTT"), []byte{h.level, h.flags, byte(h.keepAlive >> 8), byte(h.keepAlive)}, str(h.id), h.afterwards, str(h.user), password)
}

func (c *client) send(b []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

// read returns the next packet, or why there is none.
func (c *client) read() (first byte, body []byte, err error) {
	c.conn.SetReadDeadline(time.Now().Add(time.Hour))
	var b [1]byte
	if _, err := io.ReadFull(c.conn, b[:]); err != nil {
		return 0, nil, err
	}
	n, err := binary.ReadUvarint(byteReader{c.conn})
	if err != nil {
		return 0, nil, err
	}
	body = make([]byte, n)
	_, err = io.ReadFull(c.conn, body)
	return b[0], body, err
}

type byteReader struct{ io.Reader }

func (r byteReader) ReadByte() (byte, error) {
	var b [1]byte
	_, err := io.ReadFull(r, b[:])
	return b[0], err
}

// hello connects and returns the CONNACK code, or -1 where the connection ended without one.
func (c *client) hello(h hello) int {
	c.t.Helper()
	c.send(h.bytes())
	first, body, err := c.read()
	if err != nil {
		return -1
	}
	if first != 0x20 || len(body) != 2 {
		c.t.Fatalf("instead of a CONNACK: %#x %x", first, body)
	}
	return int(body[1])
}

// want reads a packet and fails where it is another one.
func (c *client) want(first byte, body ...byte) {
	c.t.Helper()
	f, b, err := c.read()
	if err != nil || f != first || !bytes.Equal(b, body) {
		c.t.Fatalf("got %#x %x, %v; want %#x %x", f, b, err, first, body)
	}
}

func (c *client) subscribe(id byte, filter string, qos byte) {
	c.send(frame(0x82, []byte{0, id}, str(filter), []byte{qos}))
}

func (c *client) publish(qos byte, id uint16, topic, body string) {
	c.t.Helper()
	var number []byte
	if qos > 0 {
		number = binary.BigEndian.AppendUint16(nil, id)
	}
	c.send(frame(0x30|qos<<1, str(topic), number, []byte(body)))
}

// message reads the next PUBLISH and acknowledges it; other packets are passed over.
func (c *client) message() (topic, body string, err error) {
	c.t.Helper()
	for {
		first, b, err := c.read()
		if err != nil {
			return "", "", err
		}
		if first>>4 != 3 {
			continue
		}
		n := int(binary.BigEndian.Uint16(b))
		topic, b = string(b[2:2+n]), b[2+n:]
		if first&6 != 0 {
			c.conn.Write(frame(0x40, b[:2]))
			b = b[2:]
		}
		return topic, string(b), nil
	}
}

// closed fails where the cloud does not hang up at once, and returns what it said before.
func (c *client) closed() []byte {
	c.t.Helper()
	c.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	b, err := io.ReadAll(c.conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Errorf("the connection lives on")
	}
	return b
}

// silent fails where the cloud says something within ten minutes, or hangs up.
func (c *client) silent() {
	c.t.Helper()
	c.conn.SetReadDeadline(time.Now().Add(10 * time.Minute))
	var b [1]byte
	if _, err := c.conn.Read(b[:]); !errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Errorf("heard %x, %v", b, err)
	}
	c.conn.SetReadDeadline(time.Time{})
}
