//go:build !noattest

package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/devid-agent/devid-agent/attest"
	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/commands"
	"github.com/devid-agent/devid-agent/keys"
)

// attestCommands are two at the device, attest and attest answer, and two at the verifier, who needs neither a
// configuration nor a TPM. What goes between them is files.
func attestCommands() []commands.Command {
	a, v := new(attestFlags), new(verifyFlags)
	return []commands.Command{
		{Name: "attest", Takes: "[KEY]", About: "evidence that a key was born in the hardware and cannot leave (default: the key in force)",
			Flags: a.forEvidence, Run: a.evidence},
		{Name: "attest answer", Takes: "CHALLENGE", About: "prove that the evidence comes from the TPM of the endorsement certificate",
			Flags: a.forAnswer, Run: a.answer},
		{Name: "attest verify", Takes: "EVIDENCE", About: "anywhere: check evidence, and say in words what it proves",
			Flags: v.forVerify, Run: v.verify},
		{Name: "attest challenge", Takes: "EVIDENCE", About: "anywhere: make a challenge for the TPM that the evidence names",
			Flags: v.forChallenge, Run: v.challenge},
	}
}

// attestFlags are those of the device.
type attestFlags struct {
	nonce, out string
	cbor       bool
}

func (f *attestFlags) forEvidence(s *flag.FlagSet) {
	s.StringVar(&f.nonce, "nonce", "", "16 to 64 random bytes from the verifier, in `hex`; it makes them with: openssl rand -hex 32")
	s.StringVar(&f.out, "out", "", "`file` for the evidence (default standard output)")
	f.forForm(s)
}

func (f *attestFlags) forAnswer(s *flag.FlagSet) {
	s.StringVar(&f.out, "out", "", "`file` for the answer (default standard output)")
	f.forForm(s)
}

func (f *attestFlags) forForm(s *flag.FlagSet) {
	s.BoolVar(&f.cbor, "cbor", false, "CBOR instead of JSON, which is a third shorter; who verifies takes both")
}

func (f *attestFlags) evidence(ctx context.Context, o *commands.Options, out io.Writer) error {
	nonce, err := parseNonce(f.nonce)
	if err != nil {
		return err
	}
	w, err := lookWorkbench(o)
	if err != nil {
		return err
	}
	defer w.close()
	name, err := w.subject(o)
	if err != nil {
		return err
	}
	hardware, ok := w.store.(keys.Attester)
	if !ok {
		return fault.As(fault.Permanent, errors.New("this key store makes no evidence"))
	}
	e, err := hardware.Attest(ctx, name, nonce)
	if errors.Is(err, keys.ErrNotFound) {
		return fault.AskOperator(err, "devid-agent key list says which keys there are; a bootstrap key in a file of its own is none of them")
	}
	if err != nil {
		return err
	}
	return handOver(o, out, f.out, form(e, f.cbor), "evidence about the key "+name)
}

// subject is the key that is asked about.
func (w *workbench) subject(o *commands.Options) (string, error) {
	switch {
	case len(o.Args) > 0:
		return o.Args[0], nil
	case w.unknown != nil:
		return "", w.unknown
	case w.current == nil:
		return "", fault.AskOperator(errors.New("attest: no identity is in force"), "name a key: devid-agent attest KEY; devid-agent key list says which there are")
	}
	return w.current.Key, nil
}

func (f *attestFlags) answer(ctx context.Context, o *commands.Options, out io.Writer) error {
	challenge, err := readFile(o.Args[0], attest.ParseChallenge)
	if err != nil {
		return err
	}
	w, err := lookWorkbench(o)
	if err != nil {
		return err
	}
	defer w.close()
	hardware, ok := w.store.(keys.Prover)
	if !ok {
		return fault.As(fault.Permanent, errors.New("this key store answers no challenges"))
	}
	answer, err := hardware.Answer(ctx, challenge)
	if err != nil {
		return err
	}
	return handOver(o, out, f.out, form(answer, f.cbor), "answer")
}

func parseNonce(s string) ([]byte, error) {
	nonce, err := hex.DecodeString(s)
	if err == nil {
		err = keys.CheckNonce(nonce)
	}
	if err != nil {
		return nil, fault.AskOperator(fmt.Errorf("--nonce: %w", err), "the verifier makes one with: openssl rand -hex 32")
	}
	return nonce, nil
}

// readFile reads one of the files that go between device and verifier.
func readFile[T any](path string, parse func([]byte) (T, error)) (T, error) {
	var zero T
	b, err := os.ReadFile(path)
	if err != nil {
		return zero, err
	}
	v, err := parse(b)
	if err != nil {
		return zero, fault.AskOperator(fmt.Errorf("%s: %w", path, err), "copy the file again, whole")
	}
	return v, nil
}

// form is v as a file.
func form[F attest.File](v F, cbor bool) []byte {
	if cbor {
		return attest.CBOR(v)
	}
	b, _ := json.MarshalIndent(v, "", "  ") // text, bytes and numbers: always possible
	return append(b, '\n')
}

// handOver gives file to the other side: under a path, or on standard output.
func handOver(o *commands.Options, out io.Writer, path string, file []byte, what string) error {
	if path == "" {
		_, err := out.Write(file)
		return err
	}
	if err := writeFile(path, file); err != nil {
		return err
	}
	if o.JSON {
		return commands.PrintJSON(out, map[string]string{"written": path})
	}
	_, err := fmt.Fprintf(out, "%s is in %s\n", what, path)
	return err
}

// writeFile makes a new file: evidence that lies there already may be the only one.
func writeFile(path string, file []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fault.AskOperator(err, "name another file, or remove that one")
	}
	if err != nil {
		return err
	}
	_, err = f.Write(file)
	return errors.Join(err, f.Close())
}
