package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/proxy"
	"github.com/devid-agent/devid-agent/internal/sas"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/provisioning"
	"github.com/devid-agent/devid-agent/provisioning/dps"
	"github.com/devid-agent/devid-agent/provisioning/hand"
	"github.com/devid-agent/devid-agent/telemetry"
	"github.com/devid-agent/devid-agent/telemetry/iothub"
)

// way is how a device gets its first identity, and the further ones.
type way struct {
	keys     keys.Store            // the store, and the bootstrap key besides where that is the operational one
	first    provisioning.Enroller // from nothing
	key      string                // the key of the first identity; "" is a fresh one
	renewal  provisioning.Enroller // with the identity in force; nil where first does that, or the hub
	renewKey string                // the key of all further ones; "" is a fresh one for each
	mac      sas.MAC               // makes tokens where the device shows those, and has no certificate
}

func (w way) tokens() bool { return w.mac != nil }

// way follows the configuration. It asks nobody, except the key store for the bootstrap key.
func (a *agent) way(ctx context.Context) (way, error) {
	client, err := a.dps()
	if err != nil {
		return way{}, err
	}
	if a.config.tokens() {
		return way{keys: a.keys, first: provisioning.Placed(a.place(client)), mac: a.config.hubMAC(a.keys)}, nil
	}
	w := way{keys: a.keys, first: client}
	if a.config.Provisioning.Issuer == issuerNone || a.config.Keys.Policy == policySame {
		if err := a.useBootstrap(ctx, &w); err != nil {
			return way{}, err
		}
	}
	if err := a.useIssuers(ctx, &w, client); err != nil {
		return way{}, err
	}
	return w, nil
}

// place says where a device with a shared key belongs.
func (a *agent) place(client *dps.Client) func(context.Context, string) (identity.Assignment, error) {
	if a.config.placedByDPS() {
		return client.Place
	}
	return func(context.Context, string) (identity.Assignment, error) { return a.fixed(), nil }
}

func (a *agent) fixed() identity.Assignment {
	return identity.Assignment{DeviceID: a.config.Device.ID, Module: a.config.Device.Module, Hub: a.config.Hub.Host}
}

// useBootstrap makes the bootstrap key the operational one: always where nobody certifies another, and by policy.
func (a *agent) useBootstrap(ctx context.Context, w *way) error {
	boot, err := a.bootstrap(ctx)
	if err != nil {
		return err
	}
	w.key = bootstrapKeyName(boot.Leaf)
	w.keys = keys.With(a.keys, w.key, boot.PrivateKey.(crypto.Signer))
	if a.config.Keys.Policy == policySame {
		w.renewKey = w.key
	}
	return nil
}

// useIssuers puts together who certifies and who places. DPS does both at once where it is asked with a request.
func (a *agent) useIssuers(ctx context.Context, w *way, client *dps.Client) error {
	var placer provisioning.Assigner = client
	if !a.config.placedByDPS() {
		placer = provisioning.Fixed(a.fixed())
	}
	first, err := a.issuer(ctx, a.config.Provisioning.Issuer, true)
	if err != nil {
		return err
	}
	if first != nil {
		w.first = provisioning.Compose(first, placer)
	}
	next, err := a.issuer(ctx, a.config.Renewal.Issuer, false)
	if next != nil {
		w.renewal = provisioning.Renewal(next)
	}
	return err
}

// issuer is who that name means; nil where certificates come with the assignment, from DPS or hub.
func (a *agent) issuer(ctx context.Context, name string, first bool) (provisioning.Issuer, error) {
	switch name {
	case issuerEST, issuerEZCA:
		server, err := a.server(name)
		if err == nil && first {
			return server.First(), nil
		}
		return server, err
	case issuerHand:
		desk, err := hand.Open(handDir(a.config), a.world.step)
		if err != nil {
			return nil, err
		}
		desk.Request, desk.Log = a.signingRequest(), a.part("hand")
		return desk, nil
	case issuerNone:
		boot, err := a.bootstrap(ctx)
		if err != nil {
			return nil, err
		}
		chain, err := x509.ParseCertificates(bytes.Join(boot.Certificate, nil))
		return provisioning.Existing(chain), err
	}
	return nil, nil
}

// certifier is a server that issues certificates, and how it issues the first one.
type certifier interface {
	provisioning.Issuer
	First() provisioning.Issuer
}

// server is the one of that name, the same for the life of this agent: while it has not said yes or no, it is asked
// the same again.
func (a *agent) server(name string) (certifier, error) {
	if s := a.servers[name]; s != nil {
		return s, nil
	}
	open := a.openEST
	if name == issuerEZCA {
		open = a.openEZCA
	}
	s, err := open()
	if err == nil {
		a.servers[name] = s
	}
	return s, err
}

func handDir(c *Config) string { return filepath.Join(c.Device.State, "hand") }

func (a *agent) dps() (*dps.Client, error) {
	c := a.config.Provisioning.DPS
	roots, err := a.trust("dps", func() (*x509.CertPool, error) { return azureRoots(a.config, c.Roots) })
	if err != nil {
		return nil, err
	}
	config := dps.Config{
		Endpoint: c.Endpoint, Connect: c.Connect, IDScope: c.IDScope, RegistrationID: c.RegistrationID, APIVersion: c.APIVersion, Transport: c.Transport, Roots: roots,
		Dial: a.dial(), Request: a.signingRequest(),
		UserAgent: userAgent(), Deadline: c.Deadline, Log: a.part("dps"), TrustBundle: a.keepTrustBundle,
	}
	if c.Payload != "" {
		config.Payload = json.RawMessage(c.Payload)
	}
	switch c.Attestation {
	case attestTPM:
		if config.TPM, err = endorsed(a.keys); err != nil {
			return nil, err
		}
	case attestSymmetric:
		config.SharedKey = func(context.Context) ([]byte, error) { return a.config.dpsKey() }
		if c.GroupKey != "" {
			config.KeySource = "provisioning.dps.group_key"
		}
	default:
		config.Bootstrap = a.bootstrap
	}
	return dps.New(config), nil
}

// dial is how every connection is opened: through the proxy, where one is configured.
func (a *agent) dial() func(ctx context.Context, network, address string) (net.Conn, error) {
	return proxied(a.config, a.world.dial)
}

func proxied(c *Config, dial proxy.Dial) func(ctx context.Context, network, address string) (net.Conn, error) {
	if c.Network.Proxy == "" {
		return dial
	}
	server, err := url.Parse(c.Network.Proxy)
	if err != nil {
		return func(context.Context, string, string) (net.Conn, error) {
			return nil, fault.AskOperator(err, "correct network.proxy")
		}
	}
	password := func() (string, error) { return readLine("network.proxy_password", c.Network.ProxyPassword) }
	return proxy.Dialer(server, password, dial)
}

// readLine reads the secret that field names: the first line of its file. What it read is never in its error.
func readLine(field, path string) (string, error) {
	text, err := readSecret(field, path)
	line, _, _ := strings.Cut(text, "\n")
	return strings.TrimSuffix(line, "\r"), err
}

func readSecret(field, path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		what, remedy := whyUnreadable(path, err)
		return "", fault.AskOperator(&fieldError{field, what}, remedy)
	}
	return string(text), nil
}

// fieldError is what is wrong with what a field of the configuration names.
type fieldError struct{ field, what string }

func (e *fieldError) Error() string { return e.field + ": " + e.what }

// renewal is how the identity in force gets its successor, nil where First does that.
func (a *agent) renewal(pump *telemetry.Pump, w way) provisioning.Enroller {
	if a.config.Renewal.Issuer != issuerHub || w.tokens() {
		return w.renewal
	}
	lend := func(ctx context.Context) (telemetry.Conn, error) {
		conn, err := pump.Lend(ctx)
		return session(conn), err
	}
	return provisioning.Renewal(hubIssuer{&iothub.Issuer{Lend: lend, Request: a.signingRequest(), Log: a.part("hub")}})
}

// hubIssuer is the hub's own certificate renewal as the renewer knows it.
type hubIssuer struct{ hub *iothub.Issuer }

func (h hubIssuer) Issue(ctx context.Context, r provisioning.Request) ([]*x509.Certificate, error) {
	return h.hub.Issue(ctx, r.Current.DeviceID, r.Key)
}
