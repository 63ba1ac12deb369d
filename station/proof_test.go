package station_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/devid-agent/devid-agent/sim"
	"github.com/devid-agent/devid-agent/station"
)

// manage asks the resource manager, as the portal does. It returns the members of properties.
func (c *cloud) manage(token, method, path string, body any) map[string]any {
	c.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		c.t.Fatal(err)
	}
	url := "https://management.azure.com/subscriptions/s/resourceGroups/g/providers/Microsoft.Devices/" + path + "?api-version=2023-06-30"
	r, err := http.NewRequestWithContext(c.t.Context(), method, url, bytes.NewReader(text))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("If-Match", "*")
	transport := &http.Transport{DialTLSContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(ctx, network, c.ManagementAddr()) // the portal is not ours to judge
	}}
	defer transport.CloseIdleConnections()
	a, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer a.Body.Close()
	said, err := io.ReadAll(a.Body)
	var answer struct{ Properties map[string]any }
	if err != nil || a.StatusCode != http.StatusOK || json.Unmarshal(said, &answer) != nil {
		c.t.Fatalf("%s %s: %d %s %v", method, path, a.StatusCode, said, err)
	}
	return answer.Properties
}

// verify uploads the root to the hub and to DPS, and proves that its key is ours.
func (c *cloud) verify(root *station.Authority) {
	c.t.Helper()
	bearer, err := c.token()(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	hub, _, _ := strings.Cut(sim.HubHost, ".")
	dps, _, _ := strings.Cut(sim.DPSServiceHost, ".")
	for _, place := range []string{"IotHubs/" + hub, "provisioningServices/" + dps} {
		place += "/certificates/root"
		c.manage(bearer, http.MethodPut, place, map[string]any{"properties": map[string]any{"certificate": root.Certificate().Raw}})
		code, _ := c.manage(bearer, http.MethodPost, place+"/generateVerificationCode", nil)["verificationCode"].(string)
		proof, err := root.Prove(code)
		if err != nil {
			c.t.Fatal(err)
		}
		if got := c.manage(bearer, http.MethodPost, place+"/verify", map[string]any{"certificate": proof.Raw}); got["isVerified"] != true {
			c.t.Errorf("%s: %v", place, got)
		}
	}
}

func TestCloudTakesTheProofOfPossession(t *testing.T) {
	newCloud(t, sim.Temper{}).verify(found(t, station.Founding{Kind: station.Root}))
}
