package hsm

import (
	"context"
	"fmt"

	"github.com/devid-agent/devid-agent/hsm/wire"
)

// Ping says what is wrong with the token, or nil.
func (s *Store) Ping(ctx context.Context) error {
	_, err := s.token(ctx)
	return err
}

func (s *Store) token(ctx context.Context) (wire.Token, error) {
	a, err := s.ask(ctx, wire.Request{Op: wire.Ping}, nil)
	return a.Token, err
}

// Random returns n bytes from the token's own source.
func (s *Store) Random(ctx context.Context, n int) ([]byte, error) {
	a, err := s.ask(ctx, wire.Request{Op: wire.Random, Length: n}, func(a wire.Answer) error {
		if len(a.Random) != n {
			return fmt.Errorf("%d random bytes instead of %d", len(a.Random), n)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("random bytes: %w", err)
	}
	return a.Random, nil
}
