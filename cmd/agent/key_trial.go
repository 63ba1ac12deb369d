package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/commands"
	"github.com/devid-agent/devid-agent/keys"
)

// trialKey is the key that key test and key bench make and destroy. One that a power cut left is destroyed by the
// next of them.
const trialKey = "key-test"

// trial is what key test does and finds.
type trial struct {
	OK        bool              `json:"ok"`
	Algorithm string            `json:"algorithm"`
	Place     string            `json:"place,omitempty"`
	Padding   string            `json:"padding,omitempty"`
	Steps     []step            `json:"steps"`
	Trouble   *commands.Trouble `json:"trouble,omitempty"`
	out       io.Writer         // where a person reads along; nil for JSON
}

type step struct {
	Name   string  `json:"name"`
	OK     bool    `json:"ok"`
	MS     float64 `json:"ms"`
	Detail string  `json:"detail,omitempty"`
}

func keyTest(ctx context.Context, o *commands.Options, algorithm string, out io.Writer) error {
	w, err := openWorkbench(o, algorithm)
	if err != nil {
		return err
	}
	defer w.close()
	t := &trial{Algorithm: w.config.Keys.Algorithm, Steps: []step{}}
	if !o.JSON {
		t.out = out
	}
	err = t.run(ctx, w.store)
	t.OK = err == nil
	if !o.JSON {
		return err
	}
	if err != nil {
		d := commands.Describe(err)
		t.Trouble = &d
	}
	return errors.Join(err, commands.PrintJSON(out, t))
}

// do is one step, timed.
func (t *trial) do(name string, work func() (string, error)) error {
	start := time.Now()
	detail, err := work()
	took := time.Since(start)
	s := step{Name: name, OK: err == nil, MS: milliseconds(took), Detail: detail}
	if err != nil {
		s.Detail = err.Error()
	}
	t.Steps = append(t.Steps, s)
	if t.out != nil {
		mark := "ok  "
		if err != nil {
			mark = "FAIL"
		}
		fmt.Fprintf(t.out, "%s  %-28s %9.1f ms  %s\n", mark, name, s.MS, s.Detail)
	}
	return err
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// run leaves no key behind, whatever happens.
func (t *trial) run(ctx context.Context, store keys.Store) (err error) {
	if err := store.Delete(ctx, trialKey); err != nil {
		return err
	}
	defer func() {
		gone := t.do("delete", func() (string, error) { return "", t.remove(context.WithoutCancel(ctx), store) })
		err = errors.Join(err, gone)
	}()
	var key crypto.Signer
	if err := t.do("create "+t.Algorithm, func() (_ string, err error) {
		key, err = store.Create(ctx, trialKey)
		return "", err
	}); err != nil {
		return err
	}
	if err := t.signatures(key); err != nil {
		return err
	}
	return t.do("try to export", func() (string, error) { return t.export(ctx, store) })
}

func (t *trial) remove(ctx context.Context, store keys.Store) error {
	if err := store.Delete(ctx, trialKey); err != nil {
		return err
	}
	if _, err := store.Open(ctx, trialKey); !errors.Is(err, keys.ErrNotFound) {
		return fmt.Errorf("the deleted key is still there: %w", errors.Join(err, errors.New("it opens")))
	}
	return nil
}

// signatures makes what TLS 1.2, TLS 1.3 and certificate requests need of the key.
func (t *trial) signatures(key crypto.Signer) error {
	digest := sha256.Sum256([]byte("devid-agent key test"))
	kinds := []struct {
		name string
		opts crypto.SignerOpts
	}{{"ECDSA", crypto.SHA256}}
	if _, ok := key.Public().(*rsa.PublicKey); ok {
		kinds[0].name = "RSA PKCS #1 v1.5"
		kinds = append(kinds, struct {
			name string
			opts crypto.SignerOpts
		}{"RSA-PSS", &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}})
	}
	for _, k := range kinds {
		var signature []byte
		if err := t.do("sign "+k.name, func() (_ string, err error) {
			signature, err = key.Sign(rand.Reader, digest[:], k.opts)
			return "", err
		}); err != nil {
			return err
		}
		if err := t.do("verify "+k.name, func() (string, error) { return "", verify(key.Public(), digest[:], signature, k.opts) }); err != nil {
			return err
		}
	}
	return nil
}

func verify(public crypto.PublicKey, digest, signature []byte, opts crypto.SignerOpts) error {
	switch p := public.(type) {
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(p, digest, signature) {
			return errors.New("the signature does not fit the public key")
		}
		return nil
	case *rsa.PublicKey:
		if pss, ok := opts.(*rsa.PSSOptions); ok {
			return rsa.VerifyPSS(p, crypto.SHA256, digest, signature, pss)
		}
		return rsa.VerifyPKCS1v15(p, crypto.SHA256, digest, signature)
	}
	return fmt.Errorf("key of type %T", public)
}

// export asks the hardware to give the key away.
func (t *trial) export(ctx context.Context, store keys.Store) (string, error) {
	hardware, ok := store.(keys.Inspector)
	if !ok {
		return "this key store cannot be asked", nil
	}
	facts, err := hardware.Inspect(ctx, trialKey)
	if err != nil {
		return "", err
	}
	t.Place, t.Padding = facts.Place, facts.Padding
	if !facts.Refused {
		return "", fault.As(fault.Permanent, fmt.Errorf("the hardware gave the key away: %s", facts.Export))
	}
	return "refused: " + facts.Export + "; " + facts.Place, nil
}
