package station_test

import (
	"context"
	"crypto/x509"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/internal/web"
	"github.com/devid-agent/devid-agent/sim"
	"github.com/devid-agent/devid-agent/station"
)

// cloud is the simulated cloud, and the ways to it.
type cloud struct {
	*sim.Cloud
	t     *testing.T
	roots *x509.CertPool
}

func newCloud(t *testing.T, temper sim.Temper) *cloud {
	t.Helper()
	c, err := sim.Start(context.Background(), temper)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.RootsPEM())
	return &cloud{Cloud: c, t: t, roots: roots}
}

// client is the way to the service at addr, by a client in a hurry.
func (c *cloud) client(addr string) station.Client {
	return station.Client{Web: web.Config{Roots: c.roots, Connect: addr, Timeout: 10 * time.Second}, Pause: time.Millisecond}
}

func (c *cloud) connection(text string) station.Connection {
	c.t.Helper()
	k, err := station.ParseConnection(text)
	if err != nil {
		c.t.Fatal(err)
	}
	return k
}

func (c *cloud) hub() *station.Hub {
	h := station.NewHub(c.connection(c.HubConnectionString()), "", c.client(c.RegistryAddr()))
	c.t.Cleanup(h.Close)
	return h
}

func (c *cloud) dps(version string) *station.DPS {
	d := station.NewDPS(c.connection(c.DPSConnectionString()), version, c.client(c.DPSHTTPAddr()))
	c.t.Cleanup(d.Close)
	return d
}

func (c *cloud) ezca(token station.Token) *station.EZCA {
	c.t.Helper()
	e, err := station.NewEZCA("https://"+sim.EZCAHost, token, c.client(c.EZCAAddr()))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(e.Close)
	return e
}

// entra is the way to tokens for an application.
func (c *cloud) entra(client string) station.Entra {
	return station.Entra{Tenant: c.Entra().Tenant, Client: client, Authority: "https://" + sim.EntraHost, Roots: c.roots, Connect: c.EntraAddr(), Tries: 1}
}

func (c *cloud) ca() station.CA {
	names := c.EZCA()
	return station.CA{ID: names.CA, Template: names.Template}
}
