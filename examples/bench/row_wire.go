package main

import (
	"context"
	"fmt"
)

// wireBytes counts what a proxy sees of the agent: one reading a message, and readings in batches.
func wireBytes(ctx context.Context, b *bench) error {
	single, _, err := b.bytesOnWire(ctx, contestant{"devid-agent, alone", "", runAgent})
	if err != nil {
		return err
	}
	peer, _, err := b.bytesOnWire(ctx, pahoBare)
	if err != nil {
		return err
	}
	b.results.judge(verdict{Row: "wire", What: "bytes a reading, each a message", Measured: number(single) + " B", Peer: pahoBare.name + " " + number(peer) + " B", Ratio: ratio(single, peer)})
	for _, way := range []struct{ name, streams string }{{"JSON", inBatches}, {"CBOR", inCBOR}, {"JSON, gzip", inGzip}} {
		packed, together, err := b.bytesOnWire(ctx, contestant{"devid-agent, " + way.name, "", b.agentOf(way.streams)})
		if err != nil {
			return err
		}
		b.results.judge(verdict{Row: "wire", What: fmt.Sprintf("bytes a reading, %s a message, %s", number(together), way.name), Measured: number(packed) + " B",
			Peer: "alone " + number(single) + " B", Ratio: ratio(packed, single), Goal: "≤ 60 %", Met: packed <= 0.6*single})
	}
	return nil
}

// bytesOnWire is for one reading, both ways, with the handshake; and how many readings a message had.
func (b *bench) bytesOnWire(ctx context.Context, c contestant) (bytes, together float64, err error) {
	p, err := startProxy(b.broker.tls, 0)
	if err != nil {
		return 0, 0, err
	}
	defer p.close()
	o, err := b.compete(ctx, c, job{hub: p.address(), n: b.scale(20_000)})
	if err != nil {
		return 0, 0, err
	}
	total := p.up.Load() + p.down.Load()
	return float64(total) / float64(o.unique), float64(o.unique) / float64(o.messages), nil
}
