package tpm

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/fault"
)

// guess is a password for an object that counts wrong ones. A hash, so that the password is not kept.
type guess [sha256.Size]byte

func guessOf(object tpm2.TPM2BName, password []byte) guess {
	return sha256.Sum256(append(append([]byte{}, object.Buffer...), password...))
}

// authorize is the loaded key with what opens it for one command: nothing, its password, or a signed policy.
func (k *key) authorize(t *session, h tpm2.TPMHandle) (object, error) {
	opened := password(h, k.blob.name)
	attributes := k.blob.public.ObjectAttributes
	var err error
	switch {
	case !attributes.UserWithAuth && len(k.blob.public.AuthPolicy.Buffer) == 0:
		err = fault.As(fault.Permanent, errors.New("nothing opens the key: it has neither a password nor a policy"))
	case !attributes.UserWithAuth:
		opened.by, err = t.policySession(k.blob.public.AuthPolicy.Buffer)
	case k.blob.locked:
		opened.by, err = k.unlock(t)
	case k.blob.doubtful && !attributes.NoDA:
		err = k.dare(t, nil)
	}
	return opened, err
}

// unlock is a session with the key's password.
func (k *key) unlock(t *session) (*opener, error) {
	if k.store.keyAuth.file == "" {
		return nil, fault.AskOperator(errors.New("the key has a password"), "put it into a file that only the agent can read, and name that in "+k.store.keyAuth.knob)
	}
	auth, err := k.store.keyAuth.read()
	if err != nil {
		return nil, err
	}
	if !k.blob.public.ObjectAttributes.NoDA {
		if err := k.dare(t, auth); err != nil {
			return nil, err
		}
	}
	return t.spoken(auth)
}

// dare says why the password is not to be tried, or nil: one that was refused never is again, and one that was not
// accepted before only while the TPM is far from its lockout.
func (k *key) dare(t *session, password []byte) error {
	g := guessOf(k.blob.name, password)
	right, tried := k.store.guesses[g]
	switch {
	case tried && !right:
		return fault.AskOperator(errRefusedBefore, fmt.Sprintf("correct the password in %s; if it was changed in the TPM instead, restart the agent", k.store.keyAuth.knob))
	case !tried:
		if err := t.mayGuess(); err != nil {
			return err
		}
	}
	k.guess = &g
	return nil
}

// learn notes what the TPM said of the password that was tried last.
func (k *key) learn(err error) {
	if k.guess == nil {
		return
	}
	if err == nil || isWrongPassword(err) {
		k.store.guesses[*k.guess] = err == nil
	}
	k.guess = nil
}
