package sim_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

const registryVersion = "?api-version=2021-04-12"

type device struct {
	DeviceID, ModuleID, Etag, Status, StatusReason, ConnectionState, GenerationID string
	Authentication                                                                struct {
		Type           string
		SymmetricKey   struct{ PrimaryKey, SecondaryKey string }
		X509Thumbprint struct{ PrimaryThumbprint, SecondaryThumbprint string }
	}
}

func TestTheRegistryCreatesChangesAndForgetsDevices(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		b := browse(t, cloud, sim.HubHost, credential{}).ofPolicy(cloud.HubConnectionString())
		b.want(404, "GET", "/devices/d"+registryVersion, "")
		var d device
		b.want(200, "PUT", "/devices/d"+registryVersion, `{"deviceId":"d","statusReason":"new"}`).into(t, &d)
		if d.Status != "enabled" || d.StatusReason != "new" || d.Authentication.Type != "sas" || d.Etag == "" || d.GenerationID == "" || d.ConnectionState != "Disconnected" {
			t.Errorf("%+v", d)
		}
		key, err := base64.StdEncoding.DecodeString(d.Authentication.SymmetricKey.SecondaryKey)
		if err != nil || len(key) != 32 {
			t.Fatalf("%+v", d)
		}
		c, err := wire(t, cloud, sim.HubHost, credential{})
		if err != nil {
			t.Fatal(err)
		}
		if code := c.hello(hello{id: "d", user: hubUser("d", newHub), password: token(sim.HubHost+"/devices/d", "", key)}); code != 0 {
			t.Fatalf("CONNACK %d: %s", code, reason(cloud))
		}
		r := b.want(200, "GET", "/devices/d"+registryVersion, "")
		if r.into(t, &d); d.ConnectionState != "Connected" || r.header.Get("ETag") != `"`+d.Etag+`"` {
			t.Errorf("%s %v", r.body, r.header)
		}
		r = b.want(409, "PUT", "/devices/d"+registryVersion, `{"deviceId":"d"}`)
		if !strings.HasPrefix(r.body, `{"ExceptionMessage":"Tracking ID:`) || !strings.Contains(r.body, `"Message":"ErrorCode:DeviceAlreadyExists;`) || r.header.Get("iothub-errorcode") != "DeviceAlreadyExists" {
			t.Errorf("%s %v", r.body, r.header)
		}
		disabled := strings.Replace(b.do("GET", "/devices/d"+registryVersion, "").body, `"enabled"`, `"disabled"`, 1)
		b.with("If-Match", `"AAAA"`).want(412, "PUT", "/devices/d"+registryVersion, disabled)
		b.with("If-Match", `"`+d.Etag+`"`).want(200, "PUT", "/devices/d"+registryVersion, disabled).into(t, &d)
		c.closed()
		if d.Status != "disabled" {
			t.Errorf("%+v", d)
		}
		if code := knock(t, cloud, credential{}, hello{password: token(sim.HubHost+"/devices/d", "", key)}); code != 5 {
			t.Errorf("disabled: CONNACK %d", code)
		}
		b.with("If-Match", "*").want(200, "PUT", "/devices/d"+registryVersion, strings.Replace(disabled, `"disabled"`, `"enabled"`, 1))
		if code := knock(t, cloud, credential{}, hello{password: token(sim.HubHost+"/devices/d", "", key)}); code != 0 {
			t.Errorf("enabled: CONNACK %d %s", code, reason(cloud))
		}
		b.with("If-Match", `"AAAA"`).want(412, "DELETE", "/devices/d"+registryVersion, "")
		b.with("If-Match", `"*"`).want(204, "DELETE", "/devices/d"+registryVersion, "")
		b.with("If-Match", "*").want(404, "PUT", "/devices/d"+registryVersion, `{"deviceId":"d"}`)
		b.want(404, "DELETE", "/devices/d"+registryVersion, "")
		if n := cloud.Refusals("d", sim.AtRegistry); n != 6 {
			t.Errorf("%d refusals", n)
		}
	})
}

func TestTheRegistryKnowsThreeWaysToAuthenticate(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		b := browse(t, cloud, sim.HubHost, credential{}).ofPolicy(cloud.HubPolicy("registryReadWrite"))
		own := foreign(t, "self")
		sum := sha256.Sum256(own.chain[0].Raw)
		key := []byte("a symmetric key")
		key = append(key, make([]byte, 17)...)
		cert := bootstrap(t, cloud, "ca")
		cloud.VerifyCA("factory", cloud.FactoryCA())
		for id, auth := range map[string]string{
			"self":  fmt.Sprintf(`{"type":"selfSigned","x509Thumbprint":{"primaryThumbprint":%q}}`, strings.ToUpper(hex.EncodeToString(sum[:]))),
			"ca":    `{"type":"certificateAuthority"}`,
			"drawn": `{"type":"sas","symmetricKey":{"primaryKey":"","secondaryKey":""}}`,
			"key":   fmt.Sprintf(`{"type":"sas","symmetricKey":{"primaryKey":%q,"secondaryKey":%q}}`, encode64(key), encode64(make([]byte, 32))),
		} {
			b.want(200, "PUT", "/devices/"+id+registryVersion, fmt.Sprintf(`{"deviceId":%q,"authentication":%s}`, id, auth))
		}
		for id, h := range map[string]hello{"self": {}, "ca": {}, "key": {password: token(sim.HubHost+"/devices/key", "", key)}} {
			h.id = id
			who := map[string]credential{"self": {own.key, own.chain[:1]}, "ca": cert}[id]
			if code := knock(t, cloud, who, h); code != 0 {
				t.Errorf("%s: CONNACK %d: %s", id, code, reason(cloud))
			}
		}
		for name, body := range map[string]string{
			"other ID":       `{"deviceId":"y"}`,
			"status":         `{"deviceId":"x","status":"off"}`,
			"type":           `{"deviceId":"x","authentication":{"type":"tpm"}}`,
			"one key":        fmt.Sprintf(`{"deviceId":"x","authentication":{"type":"sas","symmetricKey":{"primaryKey":%q}}}`, encode64(key)),
			"short key":      `{"deviceId":"x","authentication":{"type":"sas","symmetricKey":{"primaryKey":"AAAA","secondaryKey":"AAAA"}}}`,
			"no thumbprint":  `{"deviceId":"x","authentication":{"type":"selfSigned"}}`,
			"bad thumbprint": `{"deviceId":"x","authentication":{"type":"selfSigned","x509Thumbprint":{"primaryThumbprint":"AB:CD"}}}`,
			"not JSON":       `{`,
		} {
			if r := b.do("PUT", "/devices/x"+registryVersion, body); r.status != 400 || !strings.Contains(r.body, "ErrorCode:ArgumentInvalid;") {
				t.Errorf("%s: %d %s", name, r.status, r.body)
			}
		}
		var all []device
		b.want(200, "GET", "/devices/"+registryVersion+"&top=2", "").into(t, &all)
		if len(all) != 2 || all[0].DeviceID != "ca" || all[1].DeviceID != "drawn" {
			t.Errorf("%+v", all)
		}
	})
}

func TestADeviceOfTheDPSKeepsItsCAThroughTheRegistry(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		cert := bootstrap(t, cloud, "d")
		atDPS(t, cloud, "d", "2019-03-31", cert).enroll("")
		b := browse(t, cloud, sim.HubHost, credential{}).ofPolicy(cloud.HubConnectionString())
		for _, status := range []string{"disabled", "enabled"} {
			b.with("If-Match", "*").want(200, "PUT", "/devices/d"+registryVersion, `{"deviceId":"d","status":"`+status+`","authentication":{"type":"certificateAuthority"}}`)
		}
		if code := knock(t, cloud, cert, hello{}); code != 0 {
			t.Errorf("CONNACK %d: %s", code, reason(cloud))
		}
	})
}

func TestModulesAreInTheRegistryBelowTheirDevice(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		b := browse(t, cloud, sim.HubHost, credential{}).ofPolicy(cloud.HubConnectionString())
		b.want(404, "PUT", "/devices/d/modules/m"+registryVersion, `{"deviceId":"d","moduleId":"m"}`)
		b.want(200, "PUT", "/devices/d"+registryVersion, `{"deviceId":"d"}`)
		var m device
		b.want(200, "PUT", "/devices/d/modules/m"+registryVersion, `{"deviceId":"d","moduleId":"m"}`).into(t, &m)
		key, _ := base64.StdEncoding.DecodeString(m.Authentication.SymmetricKey.PrimaryKey)
		if code := knock(t, cloud, credential{}, hello{id: "d/m", password: token(sim.HubHost+"/devices/d/modules/m", "", key)}); code != 0 {
			t.Errorf("CONNACK %d: %s", code, reason(cloud))
		}
		b.want(400, "PUT", "/devices/d/modules/n"+registryVersion, `{"deviceId":"d","moduleId":"m"}`)
		b.want(409, "PUT", "/devices/d/modules/m"+registryVersion, `{"deviceId":"d","moduleId":"m"}`)
		var all []device
		b.want(200, "GET", "/devices/d/modules"+registryVersion, "").into(t, &all)
		if len(all) != 1 || all[0].ModuleID != "m" || all[0].DeviceID != "d" {
			t.Errorf("%+v", all)
		}
		b.want(204, "DELETE", "/devices/d"+registryVersion, "")
		if r := b.want(404, "GET", "/devices/d/modules/m"+registryVersion, ""); !strings.Contains(r.body, "DeviceNotFound") {
			t.Errorf("%s", r.body)
		}
	})
}

func TestTheRegistryServesWhoHasTheRight(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		none := browse(t, cloud, sim.HubHost, credential{})
		read := none.ofPolicy(cloud.HubPolicy("registryRead"))
		read.want(200, "GET", "/devices"+registryVersion, "")
		read.want(401, "PUT", "/devices/d"+registryVersion, `{"deviceId":"d"}`)
		none.want(401, "GET", "/devices"+registryVersion, "")
		none.ofPolicy(cloud.HubPolicy("device")).want(401, "GET", "/devices"+registryVersion, "")
		none.ofPolicy(strings.Replace(cloud.HubConnectionString(), "=iothubowner", "=nobody", 1)).want(401, "GET", "/devices"+registryVersion, "")
		none.ofPolicy(strings.Replace(cloud.HubConnectionString(), sim.HubHost, "other.azure-devices.net", 1)).want(401, "GET", "/devices"+registryVersion, "")
		none.with("Authorization", "Bearer x").want(401, "GET", "/devices"+registryVersion, "")
		owner := none.ofPolicy(cloud.HubConnectionString())
		owner.want(400, "GET", "/devices", "")
		owner.want(404, "GET", "/jobs"+registryVersion, "")
		time.Sleep(2 * time.Hour)
		owner.want(401, "GET", "/devices"+registryVersion, "")
		cloud.SetTemper(sim.Temper{Throttle: 1})
		owner = none.ofPolicy(cloud.HubConnectionString())
		if r := owner.want(429, "PUT", "/devices/d"+registryVersion, `{"deviceId":"d"}`); r.header.Get("Retry-After") != "2" || !strings.Contains(r.body, "ThrottlingException") {
			t.Errorf("%s %v", r.body, r.header)
		}
		owner.want(200, "PUT", "/devices/d"+registryVersion, `{"deviceId":"d"}`)
	})
}
