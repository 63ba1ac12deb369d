package sim_test

import (
	"bufio"
	"context"
	"crypto/elliptic"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/devid-agent/devid-agent/sim"
)

// controlled is a cloud whose control API listens, and who asks it.
type controlled struct {
	*testing.T
	*sim.Cloud
	url, secret string
}

func controlledCloud(t *testing.T, secret string) *controlled {
	t.Helper()
	c := outside(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.Control(l, secret)
	return &controlled{t, c, "http://" + l.Addr().String(), secret}
}

func (c *controlled) ask(method, path, body string) (int, string) {
	c.Helper()
	r, err := http.NewRequestWithContext(c.Context(), method, c.url+path, strings.NewReader(body))
	if err != nil {
		c.Fatal(err)
	}
	if c.secret != "" {
		r.Header.Set("Authorization", "Bearer "+c.secret)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		c.Fatal(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		c.Fatal(err)
	}
	return response.StatusCode, string(b)
}

func (c *controlled) want(method, path, body string, status int, part string) string {
	c.Helper()
	got, text := c.ask(method, path, body)
	if got != status || !strings.Contains(text, part) {
		c.Errorf("%s %s %s: %d %s, want %d %s", method, path, body, got, text, status, part)
	}
	return text
}

func TestTheControlAPIAsksForItsSecret(t *testing.T) {
	c := controlledCloud(t, "s3cret")
	c.want("GET", "/v1/devices", "", 200, "[]")
	c.secret = "guess"
	c.want("GET", "/v1/devices", "", 401, "secret")
	c.secret = ""
	c.want("PUT", "/v1/devices/d", "", 401, "secret")
	c.secret = "s3cret"
	c.want("GET", "/v1/devices", "", 200, "[]")
}

func TestTheControlAPIRulesDevices(t *testing.T) {
	c := controlledCloud(t, "")
	c.want("PUT", "/v1/devices/d", `{"sas":true}`, 200, `"auth":"sas"`)
	c.want("PUT", "/v1/devices/d", `{"thumbprints":["xy"]}`, 400, "thumbprint")
	c.want("PUT", "/v1/devices/d", `{"colour":"red"}`, 400, "colour")
	c.want("PUT", "/v1/devices/a%20b", ``, 400, "no device ID")
	c.want("PUT", "/v1/devices/d%2Fm", ``, 200, `"id":"d/m"`)
	c.want("PUT", "/v1/devices/d", ``, 200, `"auth":"certificateAuthority"`)
	c.want("GET", "/v1/devices/e", "", 404, "not registered")
	for _, verb := range []string{"disable", "enable", "revoke", "expire", "disconnect"} {
		c.want("POST", "/v1/devices/e/"+verb, "", 404, `"errorCode":404001`)
		c.want("POST", "/v1/devices/d/"+verb, "", 204, "")
	}
	c.want("PATCH", "/v1/devices/d/desired", `{"on":true}`, 200, `{"version":2}`)
	c.want("PATCH", "/v1/devices/d/desired", `{"$on":true}`, 400, "dollar")
	c.want("GET", "/v1/devices/d/twin", "", 200, `"on":true`)
	c.want("POST", "/v1/devices/d/methods/reboot?timeout=1s", `{}`, 404, `"errorCode":404103`)
	c.want("POST", "/v1/devices/d/methods/reboot?timeout=soon", `{}`, 400, "timeout")
	c.want("POST", "/v1/devices/d/messages", `{"text":"hi"}`, 404, "never connected")
	c.want("DELETE", "/v1/devices/d", "", 204, "")
	c.want("GET", "/v1/devices", "", 200, "[]")
}

func TestTheControlAPIRulesEnrollments(t *testing.T) {
	c := controlledCloud(t, "")
	c.want("GET", "/v1/enrollments", "", 200, `"group":true,"kind":"x509"`)
	c.want("PUT", "/v1/enrollments/gw-1", `{"makeKey":true,"device":"gateway-1"}`, 200, `"kind":"symmetric","device":"gateway-1"`)
	c.want("PUT", "/v1/enrollments/fleet", `{"group":true,"symmetricKey":"a2V5"}`, 200, `"id":"fleet","group":true`)
	c.want("PUT", "/v1/enrollments/gw-2", `{"endorsementKey":"AAEA"}`, 200, `"kind":"tpm"`)
	c.want("PUT", "/v1/enrollments/none", `{"group":true}`, 400, "needs ca or symmetricKey")
	c.want("PUT", "/v1/enrollments/two", `{"symmetricKey":"a2V5","endorsementKey":"AAEA"}`, 400, "one way")
	c.want("POST", "/v1/enrollments/gw-1/disable", "", 204, "")
	c.want("GET", "/v1/enrollments", "", 200, `"disabled":true`)
	c.want("POST", "/v1/enrollments/gw-1/expire", "", 409, "no certificate")
	c.want("POST", "/v1/enrollments/nobody/enable", "", 404, "no enrollment")
	c.want("DELETE", "/v1/enrollments/gw-1", "", 204, "")
	c.want("DELETE", "/v1/enrollments/gw-1", "", 404, "")
}

func TestAnExpiredGroupEnrollsNobodyAnyMore(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, c *sim.Cloud) {
		boot := bootstrap(t, c, "gw-1")
		atDPS(t, c, "gw-1", newDPS, boot)
		if err := c.ExpireEnrollment("nobody"); err == nil {
			t.Error("an enrollment that is none expired")
		}
		c.Enroll(sim.Enrollment{CA: c.FactoryCA(), Group: "factory"})
		if err := c.ExpireEnrollment("factory"); err != nil {
			t.Fatal(err)
		}
		d, err := wire(t, c, sim.DPSHost, boot)
		if err != nil {
			t.Fatal(err)
		}
		if code := d.hello(hello{id: "gw-1", user: dpsUser("gw-1", newDPS)}); code != 5 {
			t.Errorf("CONNACK %d", code)
		}
		wantReason(t, c, "expired")
	})
}

func TestAnExpiredDeviceIsCutAndRefused(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, c *sim.Cloud) {
		cert := operational(t, c, "d")
		d := atHub(t, c, "d", cert)
		c.ExpireDevice("d")
		d.closed()
		if code := knock(t, c, cert, hello{}); code != 5 {
			t.Errorf("CONNACK %d", code)
		}
		atHub(t, c, "d", operational(t, c, "d"))
		born := bootstrap(t, c, "e")
		c.CreateDevice("e", sim.Auth{CA: c.FactoryCA()})
		atHub(t, c, "e", born).conn.Close()
		synctest.Wait()
		c.ExpireDevice("e")
		if code := knock(t, c, born, hello{id: "e"}); code != 5 {
			t.Errorf("what it presented last: CONNACK %d", code)
		}
	})
}

func TestTheControlAPIStreamsWhatArrives(t *testing.T) {
	c := controlledCloud(t, "")
	cert := operational(t, c.Cloud, "d")
	send := func(body string) {
		t.Helper()
		d := atHub(t, c.Cloud, "d", cert)
		d.publish(1, 1, events("d", "stream=cpu&seq=7"), body)
		d.want(0x40, 0, 1)
		d.conn.Close()
	}
	send(`{"v":1}`)
	r, err := http.NewRequestWithContext(t.Context(), "GET", c.url+"/v1/received?device=d&follow=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for i, want := range []string{`"body":{"v":1}`, `"base64":"/w=="`} {
		if i == 1 {
			send("\xff")
		}
		if !lines.Scan() || !strings.Contains(lines.Text(), want) || !strings.Contains(lines.Text(), `"stream":"cpu","seq":7`) {
			t.Errorf("line %d: %s, %v", i+1, lines.Text(), lines.Err())
		}
	}
	c.want("GET", "/v1/received?after=1", "", 200, "base64")
	c.want("GET", "/v1/received?after=x", "", 400, "after")
	if all := c.want("GET", "/v1/events?device=d", "", 200, `"kind":"connected"`); !json.Valid([]byte(strings.SplitN(all, "\n", 2)[0])) {
		t.Error(all)
	}
	c.want("GET", "/v1/counters", "", 200, `"issued":1`)
	c.Close()
	if lines.Scan() {
		t.Errorf("after the end: %s", lines.Text())
	}
}

func TestASocketNeedsNoSecret(t *testing.T) {
	c := outside(t)
	path := filepath.Join(t.TempDir(), "control.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c.Control(l, "")
	client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) }}}
	response, err := client.Post("http://control/v1/ezca/tokens", "application/json", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var token struct{ Token string }
	if err := json.NewDecoder(response.Body).Decode(&token); err != nil || token.Token == "" {
		t.Fatal(err)
	}
	key := newKey(t, elliptic.P256())
	if r, body := ezcaSend(t, c, http.MethodPost, "/api/CA/RequestSSLCertificateV2", token.Token, issueRequest(t, c, "gw-1", key)); r.StatusCode != 200 {
		t.Errorf("%s %s", r.Status, body)
	}
}
