package est

import (
	"crypto"
	"errors"
	"io"
	"time"
)

// slowSigner is a chip that takes its time.
type slowSigner struct {
	crypto.Signer
	takes time.Duration
}

func (s slowSigner) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	time.Sleep(s.takes)
	return s.Signer.Sign(rand, digest, opts)
}

// failingSigner is a chip that does not sign.
type failingSigner struct {
	crypto.Signer
	err error
}

func (f failingSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return nil, f.err }

// sha256Only is a chip that hashes by SHA-256 alone, as the smallest TPMs do.
type sha256Only struct{ crypto.Signer }

func (s sha256Only) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts.HashFunc() != crypto.SHA256 {
		return nil, errors.New("no such hash")
	}
	return s.Signer.Sign(rand, digest, opts)
}
