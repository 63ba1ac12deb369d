package attest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"fmt"

	"github.com/devid-agent/devid-agent/keys"
)

// token looks at what a PKCS#11 module reported. Only the signature is more than its word, and it proves no more
// than that the key was there when it was asked.
func (v *Verdict) token(e keys.Evidence, key crypto.PublicKey) error {
	t := e.Token
	if err := v.check("signature", "by the key itself, over the nonce and all that is reported", signed(key, e)); err != nil {
		return err
	}
	if err := v.check("attributes", "CKA_LOCAL CKA_ALWAYS_SENSITIVE CKA_NEVER_EXTRACTABLE", reported(t)); err != nil {
		return err
	}
	v.Grade = Reported
	v.Words = fmt.Sprintf("made on the token %q (%s %s, serial %s) and never outside of it, as reported by the PKCS#11 module %s (%s): unproven, nobody signs for it",
		t.Token, t.Manufacturer, t.Model, t.Serial, t.Module, t.Library)
	return nil
}

func reported(t *keys.TokenEvidence) error {
	var missing []error
	for _, m := range []struct {
		set bool
		why string
	}{
		{t.Local, "CKA_LOCAL is false: the key was made elsewhere and imported"},
		{t.AlwaysSensitive, "CKA_ALWAYS_SENSITIVE is false: the key could be read at some time"},
		{t.NeverExtractable, "CKA_NEVER_EXTRACTABLE is false: the key could leave at some time"},
	} {
		if !m.set {
			missing = append(missing, errors.New(m.why))
		}
	}
	return errors.Join(missing...)
}

func signed(key crypto.PublicKey, e keys.Evidence) error {
	switch public := key.(type) {
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(public, e.Statement(), e.Token.Signature) {
			return errors.New("the key did not sign this")
		}
		return nil
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(public, crypto.SHA256, e.Statement(), e.Token.Signature)
	}
	return fmt.Errorf("key of type %T", key)
}
