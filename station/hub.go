package station

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

// Device is a device or, where ModuleID is not empty, a module in the identity registry of an IoT hub, in the words of
// its REST interface (Microsoft Learn, "Devices - Create Or Update Identity").
type Device struct {
	DeviceID        string         `json:"deviceId"`
	ModuleID        string         `json:"moduleId,omitempty"`
	Status          string         `json:"status,omitempty"` // enabled or disabled; modules have none
	StatusReason    string         `json:"statusReason,omitempty"`
	Authentication  Authentication `json:"authentication"`
	ETag            string         `json:"etag,omitempty"`
	GenerationID    string         `json:"generationId,omitempty"`
	ConnectionState string         `json:"connectionState,omitempty"`
	LastActivity    string         `json:"lastActivityTime,omitempty"`

	// What an update sends back as it came.
	Capabilities json.RawMessage `json:"capabilities,omitempty"`
	Scope        string          `json:"deviceScope,omitempty"`
	ParentScopes []string        `json:"parentScopes,omitempty"`
	ManagedBy    string          `json:"managedBy,omitempty"`
}

// Authentication is how a device shows who it is.
type Authentication struct {
	Type         string       `json:"type"` // certificateAuthority, selfSigned or sas
	SymmetricKey *KeyPair     `json:"symmetricKey,omitempty"`
	Thumbprint   *Thumbprints `json:"x509Thumbprint,omitempty"`
}

// KeyPair is two symmetric keys in base64. They are secrets.
type KeyPair struct {
	Primary   string `json:"primaryKey,omitempty"`
	Secondary string `json:"secondaryKey,omitempty"`
}

// Thumbprints are the certificates that the hub takes, by the SHA-256 or SHA-1 of each, in hex.
type Thumbprints struct {
	Primary   string `json:"primaryThumbprint,omitempty"`
	Secondary string `json:"secondaryThumbprint,omitempty"`
}

// Kinds of Authentication.
const (
	AuthCA         = "certificateAuthority"
	AuthThumbprint = "selfSigned"
	AuthSAS        = "sas"
)

// Hub is the identity registry of an IoT hub.
type Hub struct {
	service *service
	version string
}

// HubAPI is the version of the service interface that every hub has.
const HubAPI = "2021-04-12"

const checkName = "check the name: upper and lower case count in the names of devices"

// NewHub asks nothing yet. version is HubAPI when empty.
func NewHub(c Connection, version string, client Client) *Hub {
	if version == "" {
		version = HubAPI
	}
	return &Hub{service: c.service("hub", "take a policy that may write the registry: registryReadWrite, or iothubowner", client), version: version}
}

// Close hangs up.
func (h *Hub) Close() { h.service.Close() }

// SplitName is the device, and the module or "", of a name as deviceId or deviceId/moduleId.
func SplitName(name string) (device, module string, err error) {
	device, module, isModule := strings.Cut(name, "/")
	if device == "" || isModule && (module == "" || strings.Contains(module, "/")) || len(device) > 128 || len(module) > 128 {
		return "", "", fault.AskOperator(fmt.Errorf("%q names no device", name), "write DEVICE or DEVICE/MODULE")
	}
	return device, module, nil
}

func (d Device) name() string {
	if d.ModuleID == "" {
		return d.DeviceID
	}
	return d.DeviceID + "/" + d.ModuleID
}

func (h *Hub) call(method, name string) (call, error) {
	device, module, err := SplitName(name)
	if err != nil {
		return call{}, err
	}
	path := "/devices/" + escape(device)
	if module != "" {
		path += "/modules/" + escape(module)
	}
	return call{method: method, path: path, query: url.Values{"api-version": {h.version}}, header: map[string]string{}}, nil
}

// Create makes the device; ErrTaken where there is one of that name. For sas the hub makes the keys that d has not.
func (h *Hub) Create(ctx context.Context, d Device) (Device, error) {
	if d.Status == "" && d.ModuleID == "" {
		d.Status = "enabled"
	}
	made, err := h.put(ctx, d, "")
	if err != nil {
		return Device{}, hinted(fmt.Errorf("create %s: %w", d.name(), err), "devid-station hub show "+d.name()+"; delete it first to make it anew")
	}
	return made, nil
}

// hinted gives a person a remedy where the service has said that a thing is there already, or is not there.
func hinted(err error, remedy string) error {
	if errors.Is(err, ErrTaken) || errors.Is(err, ErrAbsent) {
		return fault.AskOperator(err, remedy)
	}
	return err
}

// put sends d; an etag makes it an update of what has that etag, and of nothing else.
func (h *Hub) put(ctx context.Context, d Device, etag string) (Device, error) {
	c, err := h.call(http.MethodPut, d.name())
	if err != nil {
		return Device{}, err
	}
	if etag != "" {
		c.header["If-Match"] = quoted(etag)
	}
	c.body = d
	return h.device(ctx, c)
}

func (h *Hub) device(ctx context.Context, c call) (Device, error) {
	a, err := h.service.ask(ctx, c)
	if err != nil {
		return Device{}, err
	}
	var d Device
	return d, h.service.read(a, &d)
}

// Show returns the device; ErrAbsent where there is none of that name.
func (h *Hub) Show(ctx context.Context, name string) (Device, error) {
	c, err := h.call(http.MethodGet, name)
	if err != nil {
		return Device{}, err
	}
	d, err := h.device(ctx, c)
	if err != nil {
		return Device{}, hinted(fmt.Errorf("show %s: %w", name, err), checkName)
	}
	return d, nil
}

// SetStatus lets the device in, or keeps it out; a device that is connected is cut off by the hub. A reason of up to
// 128 characters is kept with it.
func (h *Hub) SetStatus(ctx context.Context, name string, enabled bool, reason string) (Device, error) {
	if strings.Contains(name, "/") {
		return Device{}, fault.AskOperator(errors.New("a module has no status of its own"), "disable its device, or delete the module")
	}
	d, err := h.Show(ctx, name)
	if err != nil {
		return Device{}, err
	}
	d.Status, d.StatusReason = "disabled", reason
	if enabled {
		d.Status = "enabled"
	}
	after, err := h.put(ctx, d, d.ETag)
	if err != nil {
		return Device{}, fmt.Errorf("set %s to %s: %w", name, d.Status, err)
	}
	return after, nil
}

// Delete removes the device with its modules; ErrAbsent where there is none of that name.
func (h *Hub) Delete(ctx context.Context, name string) error {
	c, err := h.call(http.MethodDelete, name)
	if err != nil {
		return err
	}
	c.header["If-Match"] = "*"
	if _, err = h.service.ask(ctx, c); err != nil {
		return hinted(fmt.Errorf("delete %s: %w", name, err), checkName)
	}
	return nil
}

// Thumbprint is how IoT Hub names a certificate: SHA-256 of its DER, in hex.
func Thumbprint(c *x509.Certificate) string {
	h := sha256.Sum256(c.Raw)
	return strings.ToUpper(hex.EncodeToString(h[:]))
}

// HubRegistrar registers the devices of an order at a hub.
type HubRegistrar struct {
	Hub  *Hub
	Auth string // AuthCA or AuthThumbprint
}

// Register implements Registrar. A device that exists keeps its kind of authentication: another one is refused. A new
// thumbprint becomes the first, and the old first one the second, so that a device which has not got its new
// certificate yet stays connected.
func (r HubRegistrar) Register(ctx context.Context, name string, chain []*x509.Certificate) error {
	device, module, err := SplitName(name)
	if err != nil {
		return err
	}
	d := Device{DeviceID: device, ModuleID: module, Authentication: Authentication{Type: r.Auth}}
	if r.Auth == AuthThumbprint {
		d.Authentication.Thumbprint = &Thumbprints{Primary: Thumbprint(chain[0])}
	}
	if _, err = r.Hub.Create(ctx, d); !errors.Is(err, ErrTaken) {
		return err
	}
	there, err := r.Hub.Show(ctx, name)
	switch {
	case err != nil:
		return err
	case there.Authentication.Type != r.Auth:
		return fault.AskOperator(fmt.Errorf("register %s: it exists, with authentication by %s", name, there.Authentication.Type),
			"delete it, or take another --auth")
	case r.Auth != AuthThumbprint:
		return nil
	}
	return r.replace(ctx, there, Thumbprint(chain[0]))
}

func (r HubRegistrar) replace(ctx context.Context, d Device, thumbprint string) error {
	if d.Authentication.Thumbprint == nil {
		d.Authentication.Thumbprint = &Thumbprints{}
	}
	t := d.Authentication.Thumbprint
	if strings.EqualFold(t.Primary, thumbprint) {
		return nil
	}
	t.Primary, t.Secondary = thumbprint, t.Primary
	if _, err := r.Hub.put(ctx, d, d.ETag); err != nil {
		return fmt.Errorf("register %s: %w", d.name(), err)
	}
	return nil
}

// zeroTime is how a hub writes that a device was never seen.
const zeroTime = "0001-01-01T00:00:00Z"

// LastSeen is the last activity for a person; "never" where there was none.
func (d Device) LastSeen() string {
	at, err := time.Parse(time.RFC3339, d.LastActivity)
	if err != nil || d.LastActivity == zeroTime || at.Year() < 2 {
		return "never"
	}
	return at.Local().Format(time.DateTime)
}
