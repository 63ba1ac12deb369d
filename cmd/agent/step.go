package main

import (
	"context"
	"crypto"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/durable"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/provisioning"
	"github.com/devid-agent/devid-agent/telemetry"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// world is what the whole program stands on. The zero world is the real one; the story tests put a software key
// store, an in-memory network and a power switch there.
type world struct {
	// keys holds the device's keys; nil is the TPM that the configuration names.
	keys keys.Store
	// dial reaches the cloud; nil is the network.
	dial func(ctx context.Context, network, address string) (net.Conn, error)
	// renewals asks for a renewal; nil is a channel that nobody knows.
	renewals chan struct{}
	// file is where the configuration is from.
	file source
	// level of the log; nil is one that changes nothing.
	level *slog.LevelVar
	// lock of the state directory, and what the cloud may ask, where an agent in this process was before; nil: none was.
	lock  *os.File
	cloud *cloud
	// spread of the first reading of the twin; 0 is that of the room.
	spread time.Duration
	// step is asked before and after each change of the medium, and each key creation, enrollment, connection and
	// publish besides: wherever the power may fail. nil never objects.
	step durable.Step
}

// The decorators below ask the step around what is not a file.

type steppedKeys struct {
	keys.Store
	step durable.Step
}

func (s steppedKeys) Create(ctx context.Context, name string) (crypto.Signer, error) {
	return around(s.step, "create key", "created key", name, func() (crypto.Signer, error) { return s.Store.Create(ctx, name) })
}

func (s steppedKeys) Delete(ctx context.Context, name string) error {
	_, err := around(s.step, "delete key", "deleted key", name, func() (struct{}, error) { return struct{}{}, s.Store.Delete(ctx, name) })
	return err
}

type steppedEnroller struct {
	provisioning.Enroller
	step durable.Step
}

func (s steppedEnroller) Enroll(ctx context.Context, r provisioning.Request) (identity.Grant, error) {
	return around(s.step, "issue", "issued", r.DeviceID, func() (identity.Grant, error) { return s.Enroller.Enroll(ctx, r) })
}

func steppedPrepare(prepare telemetry.Prepare, step durable.Step) telemetry.Prepare {
	return func(ctx context.Context, id *identity.Identity) (telemetry.Prepared, error) {
		prepared, err := prepare(ctx, id)
		if err != nil {
			return nil, err
		}
		return steppedPrepared{prepared, step, id.Key}, nil
	}
}

type steppedPrepared struct {
	telemetry.Prepared
	step durable.Step
	key  string
}

func (s steppedPrepared) Connect(ctx context.Context) (telemetry.Conn, error) {
	conn, err := around(s.step, "connect", "connected", s.key, func() (telemetry.Conn, error) { return s.Prepared.Connect(ctx) })
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	return steppedConn{conn, s.step}, nil
}

type steppedConn struct {
	telemetry.Conn
	step durable.Step
}

func (s steppedConn) Send(lane *telemetry.Lane, records []spool.Record) (n int, f telemetry.Flight, err error) {
	f, err = around(s.step, "publish", "published", "", func() (f telemetry.Flight, err error) {
		n, f, err = s.Conn.Send(lane, records)
		return f, err
	})
	return n, f, err
}

// session is the connection as the hub's room made it.
func session(c telemetry.Conn) telemetry.Conn {
	if s, ok := c.(steppedConn); ok {
		return s.Conn
	}
	return c
}

// around does the work unless the step objects before it, and forgets its result if the step objects after it.
func around[T any](step durable.Step, before, after, name string, work func() (T, error)) (T, error) {
	var none T
	if err := step.At(before, name); err != nil {
		return none, err
	}
	result, err := work()
	if stepErr := step.At(after, name); stepErr != nil {
		return none, stepErr
	}
	return result, err
}
