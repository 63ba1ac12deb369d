package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/sas"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/provisioning"
	"github.com/devid-agent/devid-agent/renew"
	"github.com/devid-agent/devid-agent/telemetry"
	"github.com/devid-agent/devid-agent/telemetry/iothub"
)

// newDevice opens the identity in hardware and puts the pump and the renewer on it. It starts nothing.
func (a *agent) newDevice(ctx context.Context) (*device, error) {
	if err := mayEnroll(a.config); err != nil {
		return nil, err
	}
	way, err := a.way(ctx)
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
	prepare, err := a.hubPrepare(way.mac)
	if err != nil {
		return nil, err
	}
	d.pump = telemetry.NewPump(telemetry.PumpConfig{
		Lanes: a.lanes(), News: a.intake.News(), Prepare: prepare, Current: ids.Current, Rate: a.config.Hub.Rate, Log: a.part("pump"),
	})
	d.renewer = renew.New(renew.Config{
		Identities: ids, DeviceID: a.config.name(), Tokens: way.tokens(),
		First: a.stepped(way.first), FirstKey: way.key, Renew: a.stepped(a.renewal(d.pump, way)), RenewKey: way.renewKey,
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

// hubPrepare is the way to the hub; mac makes tokens for a device that has no certificate.
func (a *agent) hubPrepare(mac sas.MAC) (telemetry.Prepare, error) {
	c := a.config.Hub
	roots, err := a.trust("hub", func() (*x509.CertPool, error) { return azureRoots(a.config, c.Roots) })
	if err != nil {
		return nil, err
	}
	hub := iothub.New(iothub.Config{
		APIVersion: c.APIVersion, Window: c.Window, KeepAlive: c.KeepAlive, Stall: c.Stall, Connect: c.Connect,
		WebSocket: c.Transport == transportWebSocket, Auto: c.Transport == transportAuto, ConnectWebSocket: c.ConnectWebSocket, Token: tokens(mac), TokenLife: c.TokenLife,
		Roots: roots, Dial: a.dial(), SpoolID: a.spool.ID(), UserAgent: userAgent(), Handlers: a.cloud.handlers(), Log: a.part("hub"),
	})
	if a.world.step == nil {
		return withKey(hub.Prepare), nil
	}
	return steppedPrepare(withKey(hub.Prepare), a.world.step), nil
}

// withKey is prepare, where an identity whose key is gone is as good as refused: the way back is the same.
func withKey(prepare telemetry.Prepare) telemetry.Prepare {
	return func(ctx context.Context, id *identity.Identity) (telemetry.Prepared, error) {
		prepared, err := prepare(ctx, id)
		if errors.Is(err, keys.ErrGone) {
			err = fault.As(fault.Of(err), fmt.Errorf("%w: %w", telemetry.ErrRefused, err))
		}
		return prepared, err
	}
}

func identityDir(c *Config) string { return filepath.Join(c.Device.State, "identity") }
