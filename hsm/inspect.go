package hsm

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/hsm/wire"
	"github.com/devid-agent/devid-agent/keys"
)

// Inspect implements keys.Inspector: C_GetAttributeValue says what the key is, and is asked for the key itself.
func (s *Store) Inspect(ctx context.Context, name string) (keys.Facts, error) {
	if err := keys.CheckName(name); err != nil {
		return keys.Facts{}, fault.As(fault.Permanent, fmt.Errorf("inspect key: %w", err))
	}
	facts, err := s.inspect(ctx, name)
	if err != nil {
		return keys.Facts{}, fmt.Errorf("inspect key %s: %w", name, err)
	}
	return facts, nil
}

func (s *Store) inspect(ctx context.Context, name string) (keys.Facts, error) {
	k, err := s.open(ctx, name)
	if err != nil {
		return keys.Facts{}, err
	}
	a, err := s.ask(ctx, wire.Request{Op: wire.Inspect, Key: k.ref}, oneKey)
	if err != nil {
		return keys.Facts{}, err
	}
	token, err := s.token(ctx)
	if err != nil {
		return keys.Facts{}, err
	}
	return keys.Facts{Place: s.place(token), Algorithm: string(k.algorithm), Attributes: a.Keys[0].Attributes,
		Export: a.Export, Refused: !a.Exported, Padding: k.padding()}, nil
}

func (s *Store) place(t wire.Token) string {
	return fmt.Sprintf("token %s (%s %s, serial %s) through %s", t.Label, t.Manufacturer, t.Model, t.Serial, filepath.Base(s.address.module))
}
