package hsm

import (
	"context"
	"crypto"
	"fmt"
	"slices"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/hsm/wire"
	"github.com/devid-agent/devid-agent/keys"
)

// Attest implements keys.Attester: what the module reports of the key, signed by the key itself. That is the weaker
// grade, since nobody signs for the module.
func (s *Store) Attest(ctx context.Context, name string, nonce []byte) (keys.Evidence, error) {
	err := keys.CheckName(name)
	if err == nil {
		err = keys.CheckNonce(nonce)
	}
	if err != nil {
		return keys.Evidence{}, fault.As(fault.Permanent, fmt.Errorf("attest key: %w", err))
	}
	e, err := s.attest(ctx, name, nonce)
	if err != nil {
		return keys.Evidence{}, fmt.Errorf("attest key %s: %w", name, err)
	}
	return e, nil
}

func (s *Store) attest(ctx context.Context, name string, nonce []byte) (keys.Evidence, error) {
	k, err := s.open(ctx, name)
	if err != nil {
		return keys.Evidence{}, err
	}
	found, err := s.ask(ctx, wire.Request{Op: wire.Find, Key: k.ref}, oneKey)
	if err != nil {
		return keys.Evidence{}, err
	}
	token, err := s.token(ctx)
	if err != nil {
		return keys.Evidence{}, err
	}
	is := func(word string) bool { return slices.Contains(found.Keys[0].Attributes, word) }
	e := keys.Evidence{Version: keys.EvidenceVersion, Kind: keys.TokenReported, PublicKey: k.der, Nonce: nonce,
		Token: &keys.TokenEvidence{Module: s.address.module, Library: token.Library, Token: token.Label, Manufacturer: token.Manufacturer,
			Model: token.Model, Serial: token.Serial, Local: is("CKA_LOCAL"), AlwaysSensitive: is("CKA_ALWAYS_SENSITIVE"),
			NeverExtractable: is("CKA_NEVER_EXTRACTABLE")}}
	e.Token.Signature, err = k.sign(ctx, e.Statement(), crypto.SHA256, k.check)
	return e, err
}
