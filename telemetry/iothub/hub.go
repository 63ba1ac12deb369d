// Package iothub is Azure IoT Hub's dialect of MQTT: readings as device-to-cloud messages, and the hub's own
// renewal of certificates.
//
// Names and rules are those of "Communicate with an IoT hub using the MQTT protocol" (Microsoft Learn).
package iothub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/mqtt"
	"github.com/devid-agent/devid-agent/internal/mtls"
	"github.com/devid-agent/devid-agent/telemetry"
)

// maxKeepAlive is the longest that the hub takes: it ends a session after 1.5 times as long, and after 29.45 minutes
// at the latest.
const maxKeepAlive = 1177 * time.Second

// Config is how to talk to hubs; which hub, and as whom, is in the identity. The zero Config is ready for use,
// except for SpoolID.
type Config struct {
	APIVersion string        // default 2025-08-01-preview, the first with certificate renewal
	SpoolID    string        // makes message IDs unique: <spool id>-<sequence number>-<time in ns, base 36>
	Window     int           // messages in flight; default 16, the Receive Maximum that the hub announces in its MQTT 5 preview
	KeepAlive  time.Duration // default 4 min, at most 1177 s
	Stall      time.Duration // a session without an acknowledgement for so long is over; default 30 s
	Connect    string        // host:port to dial; "" = the hub's name, port 8883. TLS and MQTT keep the hub's name
	Roots      mtls.Roots    // nil = the system's
	UserAgent  string        // told to the hub as DeviceClientType
	WebSocket  bool          // MQTT over WebSocket on port 443, for networks that let nothing else out
	Auto       bool          // port 8883, and the WebSocket where that is blocked; WebSocket then does not matter
	// ConnectWebSocket is what Auto dials for the WebSocket; "" = the host of Connect, or the hub's name, port 443.
	ConnectWebSocket string
	// Token returns a shared access signature for resource, good until expiry, for an identity without a certificate.
	Token     func(ctx context.Context, resource string, expiry time.Time) (string, error)
	TokenLife time.Duration // default 1 h, as Microsoft's SDKs have it; the session ends in time before it does
	Log       *slog.Logger  // nil = silent
	Handlers  Handlers      // what the cloud may ask of the device
	// Dial opens the transport under TLS; nil = TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Hub dials sessions. Its Dial is a telemetry.Dial, its Prepare a telemetry.Prepare.
type Hub struct {
	config Config
	trial  trial

	tickets tickets
	ways    mqtt.Ways
	rhythm  mqtt.Rhythm
}

// New returns a Hub that connects as c says.
func New(c Config) *Hub {
	if c.APIVersion == "" {
		c.APIVersion = "2025-08-01-preview"
	}
	if c.Window <= 0 {
		c.Window = 16
	}
	if c.KeepAlive <= 0 {
		c.KeepAlive = 4 * time.Minute
	}
	c.KeepAlive = min(c.KeepAlive, maxKeepAlive)
	if c.Stall <= 0 {
		c.Stall = 30 * time.Second
	}
	if c.TokenLife <= 0 {
		c.TokenLife = time.Hour
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Hub{config: c, ways: mqtt.Ways{WebSocket: c.ConnectWebSocket}}
}

// address is what the topics of the identity begin with.
func address(id *identity.Identity) string {
	if id.Module == "" {
		return "devices/" + id.DeviceID
	}
	return "devices/" + id.DeviceID + "/modules/" + id.Module
}

func (h *Hub) options(ctx context.Context, id *identity.Identity, receive func(string, []byte, func())) (mqtt.Options, error) {
	password, err := h.password(ctx, id)
	return mqtt.Options{
		Host:        id.Hub,
		Address:     h.config.Connect,
		ClientID:    id.Name(),
		Username:    h.username(id),
		Password:    password,
		Certificate: id.Certificate(),
		WebSocket:   h.config.WebSocket,
		Roots:       h.config.Roots.Pool(),
		KeepAlive:   h.config.KeepAlive,
		Persistent:  true, // the hub then keeps subscriptions, and what was sent to the device meanwhile
		Dial:        h.config.Dial,
		Ahead:       h.config.Window,
		Receive:     receive,
		Rhythm:      &h.rhythm,
	}, err
}

// open makes the connection by the way that is configured, or by the one that works.
func (h *Hub) open(ctx context.Context, o mqtt.Options) (*mqtt.Prepared, error) {
	if h.config.Auto {
		return h.ways.Prepare(ctx, o)
	}
	return mqtt.Prepare(ctx, o)
}

// password is a token where there is no certificate ("Control access to Azure IoT Hub by using shared access
// signatures", Microsoft Learn).
func (h *Hub) password(ctx context.Context, id *identity.Identity) (string, error) {
	if id.Certified() {
		return "", nil
	}
	if h.config.Token == nil {
		return "", fault.AskOperator(errors.New("the identity has no certificate, and there is no key to make a token with"),
			"configure the shared key that the device has enrolled with, or remove its identity and enroll again")
	}
	return h.config.Token(ctx, id.Hub+"/"+address(id), time.Now().Add(h.config.TokenLife))
}

// username has a '?' before api-version; that of the provisioning service has none.
func (h *Hub) username(id *identity.Identity) string {
	name := id.Hub + "/" + id.Name() + "/?api-version=" + h.config.APIVersion
	if h.config.UserAgent != "" {
		name += "&DeviceClientType=" + escape(h.config.UserAgent)
	}
	return name
}

// refused marks a refusal of who we are, so that others can tell it from an outage.
func refused(err error) error {
	no, ok := errors.AsType[*mqtt.RefusedError](err)
	if !ok || !no.Identity() {
		return err
	}
	return fault.As(fault.Permanent, fmt.Errorf("%w: %w", telemetry.ErrRefused, err))
}
