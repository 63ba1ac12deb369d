package tpm

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/keys"
)

// The kinds of endorsement key by which a cloud may know the chip.
const (
	EndorsementRSA = "rsa" // RSA 2048: what Azure's own tools enroll
	EndorsementECC = "ecc" // NIST P-256
)

// enrolled is the endorsement key by which the cloud is to know the chip: the one that the configuration names, or
// else ECC where the maker has certified that one only. What lies at persistent handles does not decide, because it
// may change, and the device would be another one to the cloud.
func (t *session) enrolled() (found, error) {
	kind := t.store.endorsementKind
	if kind == "" {
		certificates, err := t.handles(firstEKIndex, lastEKIndex)
		if err != nil {
			return found{}, err
		}
		kind = EndorsementRSA
		if !slices.Contains(certificates, certifiedRSA) && slices.Contains(certificates, certifiedECC) {
			kind = EndorsementECC
		}
	}
	if kind == EndorsementECC {
		return t.find(eccEndorsement())
	}
	return t.find(rsaEndorsement())
}

func checkEndorsement(kind string) error {
	switch kind {
	case "", EndorsementRSA, EndorsementECC:
		return nil
	}
	return fault.AskOperator(fmt.Errorf("unknown kind of endorsement key %q", kind), "name it rsa or ecc, or leave it out")
}

// Endorsement implements keys.Endorsed. The storage root key is RSA, and another one than that of the store's own
// keys, where those lie under an ECC one.
func (s *Store) Endorsement(ctx context.Context) (ek, srk []byte, err error) {
	err = s.operate(ctx, func(t *session) error {
		e, err := t.enrolled()
		if err != nil {
			return err
		}
		t.flush(e.handle) // there is room for few
		root, err := t.find(storage())
		ek, srk = sized(tpm2.Marshal(e.public)), sized(tpm2.Marshal(root.public))
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read the endorsement key: %w", err)
	}
	return ek, srk, nil
}

// Activate implements keys.Endorsed: TPM2_ActivateCredential with both keys of Endorsement, and TPM2_Import.
//
// The key was made by the cloud, which knows it. It is not fixed to this chip (fixedTPM is clear), so that nothing
// attests it. From here on it is sealed: on disk by the chip's storage root key, which is fixed to the chip, and
// inside the chip, which gives it to nobody unless the cloud has put a policy into it by which to duplicate it. It has
// no password: whoever may use the TPM and read the file makes HMACs, though he cannot take the key away. It also
// counts power cuts towards the TPM's lockout, because the cloud makes it without noDA. A certificate for a key that
// was born in the chip is the stronger choice.
func (s *Store) Activate(ctx context.Context, name string, blob []byte) error {
	if err := keys.CheckName(name); err != nil {
		return fault.As(fault.Permanent, fmt.Errorf("activate key: %w", err))
	}
	sent, err := parseIssued(blob)
	if err != nil {
		return fault.As(fault.Permanent, fmt.Errorf("activate key %s: %w", name, err))
	}
	err = s.operate(ctx, func(t *session) error {
		m, err := t.accept(name, sent)
		if err != nil {
			return err
		}
		// A cut here leaves the key before; one after the record, too: the TPM has one RSA storage root key until it is cleared.
		if err := s.remember(m.entry(), m.saved.parent); err != nil {
			return err
		}
		if err := s.dir.Write(name+macSuffix, m.blob.pem()); err != nil {
			return err
		}
		s.macs[name] = m
		return nil
	})
	if err != nil {
		return fmt.Errorf("activate key %s: %w", name, err)
	}
	return nil
}

// accept opens what the cloud has sent, and proves that the key works.
func (t *session) accept(name string, sent issued) (*mac, error) {
	inner, root, err := t.wrapping(sent)
	if err != nil {
		return nil, err
	}
	if len(inner) != 16 && len(inner) != 24 && len(inner) != 32 {
		return nil, fault.As(fault.Permanent, fmt.Errorf("the credential is no AES key: it has %d bytes", len(inner)))
	}
	a, err := t.run(tpm2.TPMCCImport, []object{root.object}, sized(inner), sized(sent.public), sized(sent.duplicate), sized(sent.seed),
		aesCFB(8*len(inner)))
	if err != nil {
		return nil, t.labelIssued("import the key", err, root.object)
	}
	t.flush(root.handle)
	b, err := newMAC(sent.public, a.sized())
	if err := errors.Join(err, a.whole()); err != nil {
		return nil, err
	}
	b.parent, b.rsaParent = tpm2.TPMRHOwner, true
	if root.handle == residentRoot {
		b.parent, b.rsaParent = residentRoot, false
	}
	m := &mac{store: t.store, name: name, blob: b}
	_, err = m.sign(t, []byte("devid-agent: does this key work?"))
	return m, labelLocked(err)
}

// wrapping opens the credential: the key of the inner wrapping, bound to both of our keys.
func (t *session) wrapping(sent issued) ([]byte, found, error) {
	ek, err := t.enrolled()
	if err != nil {
		return nil, found{}, err
	}
	root, err := t.find(storage())
	if err != nil {
		return nil, found{}, err
	}
	if !ek.public.ObjectAttributes.UserWithAuth {
		if ek.by, err = t.bySecret(ek.public.NameAlg); err != nil {
			return nil, found{}, err
		}
	}
	inner, err := t.openCredential(root.object, ek.object, sent.credential, sent.secret)
	t.flush(ek.handle)
	return inner, root, t.labelIssued("open the credential", err, root.object)
}
