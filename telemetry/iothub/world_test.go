package iothub

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/mtls"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
	"github.com/devid-agent/devid-agent/provisioning"
	"github.com/devid-agent/devid-agent/sim"
	"github.com/devid-agent/devid-agent/telemetry"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

const device = "gateway-1"

// world is a simulated hub and a device that is registered there.
type world struct {
	*testing.T
	cloud *sim.Cloud
	store *identity.Store
	id    *identity.Identity
	hub   *Hub
	conn  telemetry.Conn // the last that lend returned
}

// inWorld runs story in virtual time.
func inWorld(t *testing.T, temper sim.Temper, story func(w *world), change ...func(*Config)) {
	t.Helper()
	inWorldOf(t, temper, func(*sim.Policy) {}, newKeys(), story, change...)
}

// inWorldOf is inWorld where the hub has another policy, and the device other keys.
func inWorldOf(t *testing.T, temper sim.Temper, policy func(*sim.Policy), store keys.Store, story func(w *world), change ...func(*Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cloud, err := sim.New(temper, func(p *sim.Policy) { p.ECDSAServer = true; policy(p) })
		if err != nil {
			t.Fatal(err)
		}
		defer cloud.Close()
		w := &world{T: t, cloud: cloud}
		w.register(store)
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(cloud.RootsPEM())
		config := Config{SpoolID: "spool", Roots: mtls.Fixed(roots), Dial: cloud.Dial, UserAgent: "devid agent/1"}
		for _, c := range change {
			c(&config)
		}
		w.hub = New(config)
		story(w)
		if w.conn != nil {
			w.conn.Close()
		}
	})
}

// register gives the device its first identity, from the factory.
func (w *world) register(store keys.Store) {
	w.Helper()
	w.store = newStore(w.T, store)
	name, key := w.nextKey()
	chain, err := w.cloud.Bootstrap(device, key.Public(), 365*24*time.Hour)
	if err != nil {
		w.Fatal(err)
	}
	w.cloud.CreateDevice(device, sim.Auth{CA: w.cloud.FactoryCA()})
	w.id = w.stage(name, chain)
}

func newKeys() keys.Store { return keystest.NewStore(keys.ECDSAP256) }

func (w *world) nextKey() (string, crypto.Signer) {
	w.Helper()
	name, key, err := w.store.NextKey(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	return name, key
}

func (w *world) stage(key string, chain []*x509.Certificate) *identity.Identity {
	w.Helper()
	id, err := w.store.Stage(w.Context(), key, identity.Grant{Assignment: identity.Assignment{DeviceID: device, Hub: sim.HubHost}, Chain: chain})
	if err != nil {
		w.Fatal(err)
	}
	return id
}

func (w *world) dial() telemetry.Conn {
	w.Helper()
	conn, err := w.hub.Dial(w.Context(), w.id)
	if err != nil {
		w.Fatal(err)
	}
	return conn
}

// lend is what the pump does: one session at a time, a new one when it has ended.
func (w *world) lend(ctx context.Context) (telemetry.Conn, error) {
	if w.conn != nil {
		select {
		case <-w.conn.Done():
			w.conn.Close()
		default:
			return w.conn, nil
		}
	}
	conn, err := w.hub.Dial(ctx, w.id)
	if err == nil {
		w.conn = conn
	}
	return conn, err
}

func (w *world) issuer() *Issuer {
	return &Issuer{Lend: w.lend, Request: provisioning.SigningRequest}
}

func records(n int) []spool.Record {
	all := make([]spool.Record, n)
	for i := range all {
		all[i] = spool.Record{Seq: uint64(i + 1), Time: time.Now(), Stream: "machine", Body: fmt.Appendf(nil, `{"n":%d}`, i+1)}
	}
	return all
}

// sendEach sends one message after the other, a window of them in flight, and returns how many of the leading ones were
// acknowledged.
func sendEach(conn telemetry.Conn, batch []spool.Record) (n int, err error) {
	lane, sent := &telemetry.Lane{}, 0
	var flights []telemetry.Flight
	for n < len(batch) {
		for err == nil && sent < len(batch) && len(flights) < conn.Limits().Window {
			var k int
			var f telemetry.Flight
			if k, f, err = conn.Send(lane, batch[sent:]); err == nil {
				flights, sent = append(flights, f), sent+k
			}
		}
		if len(flights) == 0 {
			return n, err
		}
		for !flights[0].Landed() {
			select {
			case <-flights[0].Wake():
			case <-conn.Done():
				if !flights[0].Landed() {
					return n, conn.Err()
				}
			}
		}
		flights, n = flights[1:], n+1
	}
	return n, nil
}
