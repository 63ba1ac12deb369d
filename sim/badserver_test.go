package sim_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

func TestServersThatADeviceMustNotTrust(t *testing.T) {
	for fault, why := range map[sim.ServerFault]string{
		sim.ServerGood: "", sim.ServerExpired: "expired", sim.ServerOtherName: "not " + sim.DPSHost, sim.ServerForeign: "unknown authority",
		sim.ServerTruncated: "unknown authority", sim.ServerTLS11: "protocol version",
	} {
		inBubble(t, sim.Temper{Server: fault}, func(t *testing.T, cloud *sim.Cloud) {
			_, mqtt := wire(t, cloud, sim.DPSHost, credential{})
			_, https := browse(t, cloud, sim.DPSHost, credential{}).try("GET", "/", "")
			for name, err := range map[string]error{"MQTT": mqtt, "HTTPS": https} {
				if (err != nil) != (why != "") || err != nil && !strings.Contains(err.Error(), why) {
					t.Errorf("%d by %s: %v, want %q", fault, name, err, why)
				}
			}
		})
	}
}

func TestAServerOfTLS11SpeaksIt(t *testing.T) {
	inBubble(t, sim.Temper{Server: sim.ServerTLS11}, func(t *testing.T, cloud *sim.Cloud) {
		c, err := wire(t, cloud, sim.HubHost, credential{}, func(c *tls.Config) { c.MinVersion, c.CipherSuites = tls.VersionTLS10, nil })
		if err != nil || c.conn.(*tls.Conn).ConnectionState().Version != tls.VersionTLS11 {
			t.Errorf("%v", err)
		}
	})
}

func TestAnswersThatAreNone(t *testing.T) {
	inBubble(t, sim.Temper{Web: sim.WebPage}, func(t *testing.T, cloud *sim.Cloud) {
		b, path := browse(t, cloud, sim.DPSHost, bootstrap(t, cloud, "d")), "/"+sim.IDScope+"/registrations/d/register?api-version=2019-03-31"
		if r := b.want(200, "PUT", path, `{"registrationId":"d"}`); !strings.HasPrefix(r.body, "<!DOCTYPE html>") {
			t.Errorf("page: %s", r.body)
		}
		cloud.SetTemper(sim.Temper{Web: sim.WebCut})
		if _, err := b.try("PUT", path, `{"registrationId":"d"}`); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut: %v", err)
		}
		cloud.SetTemper(sim.Temper{Web: sim.WebHuge})
		if r, err := b.try("PUT", path, `{"registrationId":"d"}`); err == nil {
			t.Errorf("huge: %d bytes", len(r.body))
		}
		cloud.SetTemper(sim.Temper{Web: sim.WebSlow})
		b.client.Timeout = time.Minute
		var late net.Error
		if _, err := b.try("PUT", path, `{"registrationId":"d"}`); !errors.As(err, &late) || !late.Timeout() {
			t.Errorf("slow: %v", err)
		}
		if n := cloud.Count("d", sim.Registering); n != 0 {
			t.Errorf("%d requests were served", n)
		}
	})
}
