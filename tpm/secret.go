package tpm

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/fault"
)

// secret is a password by the path of its file: a systemd credential, or a file of root's. It is read for each use,
// so that nothing keeps it, and a person who corrects it need not restart anything.
type secret struct {
	file string // "" is the empty password
	knob string // the setting that names the file, for remedies
}

// longest is the size of the name algorithm's digest, beyond which a TPM takes no password (part 1, 17.6.4.3).
const longest = 32

func (s secret) read() ([]byte, error) {
	if s.file == "" {
		return nil, nil
	}
	info, err := os.Stat(s.file)
	if err != nil {
		return nil, fault.AskOperator(fmt.Errorf("read the password: %w", err), "put it there, or correct "+s.knob)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, fault.AskOperator(fmt.Errorf("read the password: everybody can open %s (mode %v)", s.file, info.Mode()),
			"chmod 0400 "+s.file+", and change the password: somebody may have read it")
	}
	b, err := os.ReadFile(s.file)
	if err != nil {
		return nil, fault.AskOperator(fmt.Errorf("read the password: %w", err), "let the user that runs devid-agent read it")
	}
	// As tpm2-tools read it, and as an editor leaves it.
	b = bytes.TrimRight(b, "\r\n")
	if len(b) == 0 || len(b) > longest {
		return nil, fault.AskOperator(fmt.Errorf("read the password: %s holds %d bytes", s.file, len(b)),
			fmt.Sprintf("a TPM's password has 1 to %d bytes", longest))
	}
	return b, nil
}

// owner is the owner hierarchy with what opens it. Wrong passwords for it do not count for the lockout (part 1,
// 19.8.2), so that a lockout which others have caused does not keep us from our keys.
func (t *session) owner() (object, error) {
	h := hierarchy(tpm2.TPMRHOwner)
	if t.store.ownerAuth.file == "" {
		return h, nil
	}
	state, err := t.lockout()
	if err != nil || !state.ownerAuth {
		return h, err // a TPM that was cleared has no password, whatever the file says
	}
	auth, err := t.store.ownerAuth.read()
	if err != nil {
		return object{}, err
	}
	h.by, err = t.spoken(auth)
	return h, err
}

// isWrongPassword reports that the TPM expected another password.
func isWrongPassword(err error) bool {
	return oneOf(err, tpm2.TPMRCBadAuth, tpm2.TPMRCAuthFail)
}

var errRefusedBefore = errors.New("the TPM has refused this password before, and it is not tried again")
