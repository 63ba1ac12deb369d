package sim

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// identity is what the registry keeps beside a device, and tells.
type identity struct {
	generation    string
	etag          string
	reason        string // of the status
	statusUpdated time.Time
	edge          bool
	scope         string
	managedBy     string
}

func newIdentity() identity {
	return identity{generation: fmt.Sprint(time.Now().UnixNano()), etag: freshTag()}
}

// freshTag looks like the hub's: base64 of a few bytes.
func freshTag() string { return base64.StdEncoding.EncodeToString([]byte(randomHex(4))) }

// edited gives the entry another etag.
func (d *device) edited() { d.entry.etag = freshTag() }

// The bodies of "Devices - Create Or Update Identity" and "Modules - Create Or Update Identity".
type (
	identityBody struct {
		DeviceID                   string          `json:"deviceId"`
		ModuleID                   string          `json:"moduleId,omitempty"`
		ManagedBy                  string          `json:"managedBy,omitempty"`
		GenerationID               string          `json:"generationId"`
		Etag                       string          `json:"etag"`
		ConnectionState            string          `json:"connectionState"`
		Status                     string          `json:"status,omitempty"`
		StatusReason               *string         `json:"statusReason,omitempty"`
		ConnectionStateUpdatedTime string          `json:"connectionStateUpdatedTime"`
		StatusUpdatedTime          string          `json:"statusUpdatedTime,omitempty"`
		LastActivityTime           string          `json:"lastActivityTime"`
		CloudToDeviceMessageCount  int             `json:"cloudToDeviceMessageCount"`
		Authentication             *authBody       `json:"authentication"`
		Capabilities               *capabilityBody `json:"capabilities,omitempty"`
		DeviceScope                string          `json:"deviceScope,omitempty"`
	}
	authBody struct {
		SymmetricKey   keysBody        `json:"symmetricKey"`
		X509Thumbprint thumbprintsBody `json:"x509Thumbprint"`
		Type           string          `json:"type"`
	}
	keysBody struct {
		PrimaryKey   *string `json:"primaryKey"`
		SecondaryKey *string `json:"secondaryKey"`
	}
	thumbprintsBody struct {
		PrimaryThumbprint   *string `json:"primaryThumbprint"`
		SecondaryThumbprint *string `json:"secondaryThumbprint"`
	}
	capabilityBody struct {
		IotEdge bool `json:"iotEdge"`
	}
)

// deviceID is the form of the IDs of devices and modules, which tell small letters from capitals ("Understand the
// identity registry in your IoT hub").
var deviceID = regexp.MustCompile(`^[A-Za-z0-9\-:.+%_#*?!(),=@;$']{1,128}$`)

var thumbprintForm = regexp.MustCompile(`^(?i:([a-f0-9]{2}){20}|([a-f0-9]{2}){32})$`)

// describe is the entry as the registry tells it.
func (d *device) describe() identityBody {
	parent, module, is := strings.Cut(d.id, "/")
	b := identityBody{
		DeviceID: parent, ModuleID: module, GenerationID: d.entry.generation, Etag: d.entry.etag, ManagedBy: d.entry.managedBy,
		ConnectionState: "Disconnected", ConnectionStateUpdatedTime: stampOr1(time.Time{}), LastActivityTime: stampOr1(time.Time{}),
		CloudToDeviceMessageCount: len(d.letters), Authentication: d.auth.describe(),
	}
	if d.session != nil {
		b.ConnectionState = "Connected"
	}
	if is {
		return b
	}
	b.Status, b.StatusUpdatedTime = "enabled", stampOr1(d.entry.statusUpdated)
	if d.disabled {
		b.Status = "disabled"
	}
	b.StatusReason = &d.entry.reason
	b.Capabilities, b.DeviceScope = &capabilityBody{d.entry.edge}, d.entry.scope
	return b
}

// stampOr1 writes the year 1 where nothing has happened yet, as the hub does.
func stampOr1(t time.Time) string {
	if t.IsZero() {
		return "0001-01-01T00:00:00Z"
	}
	return stamp7(t)
}

func (a Auth) describe() *authBody {
	b := &authBody{Type: "certificateAuthority"}
	switch {
	case len(a.Keys) > 0:
		b.Type = "sas"
		b.SymmetricKey.PrimaryKey, b.SymmetricKey.SecondaryKey = first2(a.Keys, base64.StdEncoding.EncodeToString)
	case len(a.Thumbprints) > 0:
		b.Type = "selfSigned"
		b.X509Thumbprint.PrimaryThumbprint, b.X509Thumbprint.SecondaryThumbprint = first2(a.Thumbprints, strings.ToUpper)
	}
	return b
}

func (a Auth) zero() bool { return a.Keys == nil && a.Thumbprints == nil && a.CA == nil }

func first2[T any](all []T, text func(T) string) (one, two *string) {
	for i, p := range []**string{&one, &two} {
		if i < len(all) {
			s := text(all[i])
			*p = &s
		}
	}
	return one, two
}

// auth is what the entry must present from now on. A device with keys that come in nobody's request gets fresh ones.
func (b *authBody) auth() (Auth, error) {
	if b == nil {
		b = &authBody{}
	}
	switch b.Type {
	case "", "sas":
		return b.SymmetricKey.auth()
	case "selfSigned":
		return b.X509Thumbprint.auth()
	case "certificateAuthority":
		return Auth{}, nil
	}
	return Auth{}, fmt.Errorf("authentication type %q", b.Type)
}

// auth takes an empty key for none, as Microsoft's client for Node.js sends it.
func (k keysBody) auth() (Auth, error) {
	one, two := k.PrimaryKey == nil || *k.PrimaryKey == "", k.SecondaryKey == nil || *k.SecondaryKey == ""
	if one && two {
		return Auth{Keys: [][]byte{newSecret(32), newSecret(32)}}, nil
	}
	if one || two {
		return Auth{}, errors.New("one symmetric key: there must be both, or none")
	}
	var a Auth
	for _, text := range []string{*k.PrimaryKey, *k.SecondaryKey} {
		key, err := base64.StdEncoding.Strict().DecodeString(text)
		if err != nil || len(key) < 16 || len(key) > 64 {
			return Auth{}, errors.New("a symmetric key that is not 16 to 64 bytes in base64")
		}
		a.Keys = append(a.Keys, key)
	}
	return a, nil
}

func (p thumbprintsBody) auth() (Auth, error) {
	var a Auth
	for _, text := range []*string{p.PrimaryThumbprint, p.SecondaryThumbprint} {
		if text == nil || *text == "" {
			continue
		}
		if !thumbprintForm.MatchString(*text) {
			return Auth{}, errors.New("a thumbprint that is not 40 or 64 hexadecimal digits")
		}
		a.Thumbprints = append(a.Thumbprints, *text)
	}
	if len(a.Thumbprints) == 0 {
		return Auth{}, errors.New("selfSigned without a thumbprint")
	}
	return a, nil
}

// parseIdentity reads what a program wants an entry to be.
func parseIdentity(body []byte, device, module string) (*identityBody, Auth, error) {
	var b identityBody
	if err := json.Unmarshal(body, &b); err != nil {
		return nil, Auth{}, fmt.Errorf("the body is not JSON: %w", err)
	}
	switch {
	case b.DeviceID != device:
		return nil, Auth{}, fmt.Errorf("deviceId %q is not that of the path", b.DeviceID)
	case b.ModuleID != module:
		return nil, Auth{}, fmt.Errorf("moduleId %q is not that of the path", b.ModuleID)
	case b.Status != "" && b.Status != "enabled" && b.Status != "disabled":
		return nil, Auth{}, fmt.Errorf("status %q", b.Status)
	case b.StatusReason != nil && len(*b.StatusReason) > 128:
		return nil, Auth{}, errors.New("statusReason of more than 128 characters")
	}
	a, err := b.Authentication.auth()
	return &b, a, err
}
