package hsm

import (
	"context"
	"fmt"
	"time"

	"github.com/devid-agent/devid-agent/hsm/wire"
)

// take waits for the turn to speak to the helper.
func (s *Store) take(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-s.turn:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the token: %w", ctx.Err())
	}
}

// release gives the turn back, and lets the helper live on for a while.
func (s *Store) release() {
	if s.helper != nil {
		after := s.config.Idle
		if s.owed != nil {
			after = min(after, soon)
		}
		if s.idle == nil {
			s.idle = time.AfterFunc(after, s.rest)
		} else {
			s.idle.Reset(after)
		}
	}
	s.turn <- struct{}{}
}

// rest settles, and ends an idle helper. Somebody who is at work gives it a new while when done.
func (s *Store) rest() {
	select {
	case <-s.turn:
	default:
		return
	}
	if s.owed != nil {
		s.audit()
		s.release()
		return
	}
	s.end()
	s.turn <- struct{}{}
}

func (s *Store) end() {
	if s.helper != nil {
		s.helper.rest()
		s.lose()
		s.log.Debug("pkcs11 helper ended", "part", "hsm")
	}
}

// Close ends the helper. A key that is used afterwards starts another.
func (s *Store) Close() error {
	<-s.turn
	defer func() { s.turn <- struct{}{} }()
	if s.idle != nil {
		s.idle.Stop()
	}
	s.end()
	return nil
}

// keep remembers the key under its name.
func (s *Store) keep(ctx context.Context, k *key) error {
	if err := s.take(ctx); err != nil {
		return err
	}
	defer s.release()
	s.keys[k.name] = k
	return nil
}

// kept returns the key of that name that was proven before, if it is still the one on the token.
func (s *Store) kept(ctx context.Context, name string, found wire.Key) (*key, error) {
	if err := s.take(ctx); err != nil {
		return nil, err
	}
	defer s.release()
	if k := s.keys[name]; k != nil && k.is(found) {
		return k, nil
	}
	return nil, nil
}

// bury makes signers of a deleted key say so.
func (s *Store) bury(ctx context.Context, name string) error {
	if err := s.take(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	defer s.release()
	if k := s.keys[name]; k != nil {
		k.gone.Store(true)
		delete(s.keys, name)
	}
	return nil
}
