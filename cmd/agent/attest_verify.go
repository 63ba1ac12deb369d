//go:build !noattest

package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/devid-agent/devid-agent/attest"
	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/commands"
)

// verifyFlags are those of the verifier.
type verifyFlags struct {
	nonce, roots, secret, answer, csr, require, out string
}

func (f *verifyFlags) forVerify(s *flag.FlagSet) {
	s.StringVar(&f.nonce, "nonce", "", "that was given to the device, in `hex`")
	s.StringVar(&f.roots, "roots", "", "PEM `file` with the certificates of TPM manufacturers that are trusted")
	s.StringVar(&f.secret, "secret", "", "`file` that attest challenge kept for the verifier")
	s.StringVar(&f.answer, "answer", "", "`file` with the device's answer to the challenge")
	s.StringVar(&f.csr, "csr", "", "certificate request `file` that must carry this evidence")
	s.StringVar(&f.require, "require", "", fmt.Sprintf("the least `grade` that is enough: one of %v", attest.Grades))
}

func (f *verifyFlags) forChallenge(s *flag.FlagSet) {
	s.StringVar(&f.roots, "roots", "", "PEM `file` with the certificates of TPM manufacturers that are trusted")
	s.StringVar(&f.secret, "secret", "", "`file` for what the verifier keeps; who has it can answer without a TPM")
	s.StringVar(&f.out, "out", "", "`file` for the challenge (default standard output)")
}

func (f *verifyFlags) verify(_ context.Context, o *commands.Options, out io.Writer) error {
	q, err := f.question()
	if err != nil {
		return err
	}
	evidence, err := readFile(o.Args[0], attest.Parse)
	if err != nil {
		return err
	}
	v, err := attest.Verify(evidence, q)
	if err == nil && f.require != "" && !v.Grade.AtLeast(attest.Grade(f.require)) {
		v.OK, err = false, fmt.Errorf("the grade is %s, and %s is required", v.Grade, f.require)
	}
	if o.JSON {
		return errors.Join(err, commands.PrintJSON(out, v))
	}
	printVerdict(out, v)
	return err
}

func printVerdict(out io.Writer, v attest.Verdict) {
	for _, c := range v.Checks {
		mark := "ok  "
		if !c.OK {
			mark = "FAIL"
		}
		fmt.Fprintf(out, "%s  %-24s %s\n", mark, c.Name, c.Detail)
	}
	fmt.Fprintf(out, "\ngrade %s: %s\n", v.Grade, v.Words)
}

// question is what the flags say that the verifier knows.
func (f *verifyFlags) question() (q attest.Question, err error) {
	if f.require != "" && !attest.Grade(f.require).AtLeast(attest.Grades[len(attest.Grades)-1]) {
		return q, fault.AskOperator(fmt.Errorf("--require %s is no grade", f.require), fmt.Sprintf("one of %v", attest.Grades))
	}
	if q.Nonce, err = parseNonce(f.nonce); err != nil {
		return q, err
	}
	if f.roots != "" {
		if q.Roots, err = readPool(f.roots); err != nil {
			return q, err
		}
	}
	if f.secret != "" {
		secret, err := readFile(f.secret, attest.ParseSecret)
		if err != nil {
			return q, err
		}
		q.Secret = &secret
	}
	if f.answer != "" {
		answer, err := readFile(f.answer, attest.ParseAnswer)
		if err != nil {
			return q, err
		}
		q.Answer = &answer
	}
	if f.csr != "" {
		q.Request, err = readRequest(f.csr)
	}
	return q, err
}

// readRequest takes PEM and DER.
func readRequest(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if block, _ := pem.Decode(b); block != nil {
		return block.Bytes, err
	}
	return b, err
}

// readPool trusts every certificate in the file, also those of issuers below a root.
func readPool(path string) (*x509.CertPool, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(b) {
		return nil, fault.AskOperator(fmt.Errorf("%s holds no certificate", path), "put the manufacturer's certificates there as PEM")
	}
	return roots, nil
}

func (f *verifyFlags) challenge(_ context.Context, o *commands.Options, out io.Writer) error {
	if f.roots == "" || f.secret == "" {
		return fault.AskOperator(errors.New("attest challenge needs --roots and --secret"),
			"devid-agent attest challenge EVIDENCE --roots manufacturer.pem --secret secret.json --out challenge.json")
	}
	evidence, err := readFile(o.Args[0], attest.Parse)
	if err != nil {
		return err
	}
	roots, err := readPool(f.roots)
	if err != nil {
		return err
	}
	challenge, secret, err := attest.Challenge(evidence, roots, time.Now())
	if err != nil {
		return err
	}
	if err := writeFile(f.secret, form(secret, false)); err != nil {
		return err
	}
	return handOver(o, out, f.out, form(challenge, false), "challenge for the device")
}
