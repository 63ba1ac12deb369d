package hsm

import (
	"context"
	"crypto"
	"errors"
	"fmt"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/hsm/wire"
)

// Load returns a key that somebody else made on this token, by its RFC 7512 URI: object= and id= say which. What
// the URI says of the token must fit this one.
func (s *Store) Load(ctx context.Context, uri string) (crypto.Signer, error) {
	k, err := s.load(ctx, uri)
	if err != nil {
		return nil, fmt.Errorf("load key: %w", err)
	}
	return k, nil
}

func (s *Store) load(ctx context.Context, uri string) (*key, error) {
	a, err := parseURI(uri)
	if err == nil && a.object == "" && len(a.id) == 0 {
		err = errors.New("pkcs11 uri: it names no key: by object=LABEL or id=%01%02")
	}
	if err == nil && a.module != "" && a.module != s.address.module {
		err = fmt.Errorf("pkcs11 uri: module-path %s is not that of keys.pkcs11", a.module)
	}
	if err != nil {
		return nil, fault.AskOperator(err, "correct the URI of the key")
	}
	wanted := wire.Key{Label: a.object, ID: a.id}
	found, err := s.ask(ctx, wire.Request{Op: wire.Find, Key: wanted}, oneKey)
	if err != nil {
		return nil, err
	}
	token, err := s.token(ctx)
	if err != nil {
		return nil, err
	}
	if !token.Fits(a.token) {
		return nil, fault.AskOperator(fmt.Errorf("pkcs11 uri: it names another token than %q, serial %s", token.Label, token.Serial), "correct the URI of the key")
	}
	return s.prove(ctx, "", found.Keys[0])
}
