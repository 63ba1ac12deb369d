package mqtt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"time"
)

// Options is where to connect, and as whom. Host, ClientID and one of Certificate and Password are needed, the rest has
// defaults.
type Options struct {
	Host               string          // name in the server's certificate, and in SNI
	Address            string          // host:port to dial; "" = Host, port 8883
	ClientID, Username string          // as the server wants them
	Password           string          // "" = none; a token where there is no certificate
	WebSocket          bool            // MQTT over WebSocket, port 443
	Certificate        tls.Certificate // presented whatever the server says it would like to see
	Roots              *x509.CertPool  // who may sign the server's certificate; nil = the system's
	KeepAlive          time.Duration   // default 1 min
	Persistent         bool            // the server keeps subscriptions and messages for the next session
	ConnectTimeout     time.Duration   // for all of Dial; default 60 s, because a TPM's signature may take seconds
	Dial               Dialer          // nil = TCP
	// Sessions makes the next Dial cost no signature: TLS goes on where it was (RFC 8446, 2.2; RFC 5077). It belongs to one
	// Certificate: a resumed session is the identity that began it, whatever Certificate says. nil = a signature each time.
	Sessions tls.ClientSessionCache
	// Unanswered is how long the other side's TCP may leave what we have sent unacknowledged (TCP_USER_TIMEOUT, RFC 5482)
	// before the session is over; default 30 s, negative = as the kernel has it, about a quarter of an hour.
	Unanswered time.Duration
	// Ahead is how many messages Publish takes before it waits for those before them to be handed on; default 64. What was
	// written and is not acknowledged does not count.
	Ahead int
	// Rhythm shortens KeepAlive where the network does not keep an idle connection for so long, and remembers; nil = it
	// is as it is.
	Rhythm *Rhythm
	// Receive gets every message from the first after CONNACK on, one at a time. It must not block. Each is acknowledged
	// when ack is called, which may be later and from elsewhere; a second call does nothing, nor does one after the
	// session. What is not acknowledged in this session the server sends again in the next, where Persistent.
	// nil = everything is acknowledged at once. MQTT 3.1.1, 4.6 wants acknowledgements in the order of the messages:
	// that is up to the caller.
	Receive func(topic string, payload []byte, ack func())
}

// Dialer opens the transport under TLS, like (*net.Dialer).DialContext.
type Dialer func(ctx context.Context, network, address string) (net.Conn, error)

func (o Options) filled() Options {
	if o.Address == "" {
		o.Address = net.JoinHostPort(o.Host, o.port())
	}
	if o.KeepAlive == 0 {
		o.KeepAlive = time.Minute
	}
	if o.ConnectTimeout == 0 {
		o.ConnectTimeout = time.Minute
	}
	if o.Ahead <= 0 {
		o.Ahead = 64
	}
	if o.Unanswered == 0 {
		o.Unanswered = writeTimeout
	}
	if o.Receive == nil {
		o.Receive = func(_ string, _ []byte, ack func()) { ack() }
	}
	return o
}

func (o Options) port() string {
	if o.WebSocket {
		return "443"
	}
	return "8883"
}
