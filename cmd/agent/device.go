package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/provisioning"
	"github.com/devid-agent/devid-agent/provisioning/dps"
	"github.com/devid-agent/devid-agent/renew"
	"github.com/devid-agent/devid-agent/telemetry"
	"github.com/devid-agent/devid-agent/telemetry/iothub"
)

// newDevice opens the identity in hardware and puts the pump and the renewer on it. It starts nothing.
func (a *agent) newDevice(ctx context.Context) (*device, error) {
	way, err := a.firstWay(ctx)
	if err != nil {
		return nil, err
	}
	ids, err := identity.Open(ctx, identityDir(a.config), way.keys, a.world.step)
	if err != nil {
		return nil, err
	}
	if lost := ids.Lost(); lost != nil {
		a.part("identity").Error("the identity is lost, enrolling again", "err", lost, "hint", fault.Hint(lost))
	}
	d := &device{identities: ids}
	dial, err := a.hubDial()
	if err != nil {
		return nil, err
	}
	d.pump = telemetry.NewPump(telemetry.PumpConfig{Queue: a.spool, Dial: dial, Current: ids.Current, Log: a.part("pump")})
	d.renewer = renew.New(renew.Config{
		Identities: ids, DeviceID: a.config.Device.ID,
		First: a.stepped(way.enroller), FirstKey: way.key, Renew: a.stepped(a.renewal(d.pump)), RenewKey: way.renewKey,
		Prove: d.prove, Refused: d.pump.Unknown(), Accepted: d.pump.Accepted, Look: a.config.Renewal.Check, Log: a.part("renew"),
	})
	return d, nil
}

func (a *agent) stepped(e provisioning.Enroller) provisioning.Enroller {
	if e == nil || a.world.step == nil {
		return e
	}
	return steppedEnroller{e, a.world.step}
}

func (a *agent) hubDial() (telemetry.Dial, error) {
	c := a.config.Hub
	roots, err := readRoots(c.Roots)
	if err != nil {
		return nil, err
	}
	hub := iothub.New(iothub.Config{
		APIVersion: c.APIVersion, Window: c.Window, KeepAlive: c.KeepAlive, Stall: c.Stall, Connect: c.Connect,
		Roots: roots, Dial: a.world.dial, SpoolID: a.spool.ID(), UserAgent: userAgent(), Log: a.part("hub"),
	})
	if a.world.step == nil {
		return withKey(hub.Dial), nil
	}
	return steppedDial(withKey(hub.Dial), a.world.step), nil
}

// withKey is dial, where an identity whose key is gone is as good as refused: the way back is the same.
func withKey(dial telemetry.Dial) telemetry.Dial {
	return func(ctx context.Context, id *identity.Identity) (telemetry.Conn, error) {
		conn, err := dial(ctx, id)
		if errors.Is(err, keys.ErrGone) {
			err = fault.As(fault.Of(err), fmt.Errorf("%w: %w", telemetry.ErrRefused, err))
		}
		return conn, err
	}
}

// way is how a device without an identity gets its first one.
type way struct {
	enroller provisioning.Enroller
	keys     keys.Store // the store, and the bootstrap key besides where that is the operational one
	key      string     // the key of the first identity; "" is a fresh one
	renewKey string     // the key of all further ones; "" is a fresh one for each
}

// firstWay follows the configuration: DPS with a CSR, DPS without one, or a hub that is fixed; in the last two the
// bootstrap certificate is the operational one. The key is a fresh one, unless the policy is to keep the bootstrap key.
func (a *agent) firstWay(ctx context.Context) (way, error) {
	client, err := a.dps()
	if err != nil {
		return way{}, err
	}
	c := a.config
	asks, same := c.Hub.Host == "" && c.Provisioning.DPS.CSR, c.Keys.Policy == policySame
	if asks && !same {
		return way{enroller: client, keys: a.keys}, nil
	}
	boot, err := a.bootstrap(ctx)
	if err != nil {
		return way{}, err
	}
	name := bootstrapKeyName(boot.Leaf)
	w := way{enroller: client, keys: keys.With(a.keys, name, boot.PrivateKey.(crypto.Signer)), key: name}
	if same {
		w.renewKey = name
	}
	if asks {
		return w, nil
	}
	chain, err := x509.ParseCertificates(bytes.Join(boot.Certificate, nil))
	if err != nil {
		return way{}, err
	}
	var assigner provisioning.Assigner = client
	if c.Hub.Host != "" {
		assigner = provisioning.Fixed(identity.Assignment{DeviceID: c.Device.ID, Hub: c.Hub.Host})
	}
	w.enroller = provisioning.Compose(provisioning.Existing(chain), assigner)
	return w, nil
}

func (a *agent) dps() (*dps.Client, error) {
	c := a.config.Provisioning.DPS
	roots, err := readRoots(c.Roots)
	if err != nil {
		return nil, err
	}
	return dps.New(dps.Config{
		Endpoint: c.Endpoint, Connect: c.Connect, IDScope: c.IDScope, APIVersion: c.APIVersion, Roots: roots,
		Dial: a.world.dial, Bootstrap: a.bootstrap, Request: a.signingRequest(), UserAgent: userAgent(), Deadline: c.Deadline, Log: a.part("dps"),
	}), nil
}

// renewal is how the identity in force gets its successor, nil where First does that.
func (a *agent) renewal(pump *telemetry.Pump) provisioning.Enroller {
	if a.config.Renewal.Issuer != issuerHub {
		return nil
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

// readRoots returns the roots in the file at path; "" is nil, the system's.
func readRoots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fault.AskOperator(err, "put the roots to trust into "+path)
	}
	chain, err := identity.ParseChain(b)
	if err != nil {
		return nil, fault.AskOperator(fmt.Errorf("%s: %w", path, err), "put the roots to trust into it, as PEM")
	}
	pool := x509.NewCertPool()
	for _, c := range chain {
		pool.AddCert(c)
	}
	return pool, nil
}

func identityDir(c *Config) string { return filepath.Join(c.Device.State, "identity") }
