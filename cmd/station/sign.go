package main

import (
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/commands"
	"github.com/devid-agent/devid-agent/station"
)

// signing are the flags of ca sign.
type signing struct {
	caDir
	days int
	out  string
}

func (s *signing) flags(f *flag.FlagSet) {
	s.caDir.flags(f)
	f.IntVar(&s.days, "days", 0, "life of the certificates; the longest that the policy allows where not given")
	f.StringVar(&s.out, "out", "", "write NAME.chain.pem into `DIR`; beside each request where not given")
}

// signed is one line of ca sign.
type signed struct {
	Request  string            `json:"request"`
	Chain    string            `json:"chain,omitempty"`
	Subject  string            `json:"subject,omitempty"`
	Serial   string            `json:"serial,omitempty"`
	NotAfter *time.Time        `json:"not_after,omitempty"`
	Trouble  *commands.Trouble `json:"trouble,omitempty"`
}

func (s *signing) run(ctx context.Context, o *commands.Options, out io.Writer) error {
	return s.with(ctx, func(a *station.Authority) error {
		if len(o.Args) == 1 && o.Args[0] == "-" {
			return s.pipe(a, o, out)
		}
		return s.all(a, o, out)
	})
}

// pipe signs the request of the standard input to the standard output.
func (s *signing) pipe(a *station.Authority, o *commands.Options, out io.Writer) error {
	_, chain, err := s.one(a, o, "-")
	if err != nil {
		return err
	}
	return write("", []byte(identity.EncodeChain(chain)), out)
}

// all signs every request that may be signed: one that may not does not stop the others.
func (s *signing) all(a *station.Authority, o *commands.Options, out io.Writer) error {
	var lines []signed
	var failed []error
	for _, name := range o.Args {
		line, err := s.file(a, o, name)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", name, err))
			t := commands.Describe(err)
			line.Trouble = &t
		}
		lines = append(lines, line)
	}
	if o.JSON {
		return errors.Join(append(failed, commands.PrintJSON(out, lines))...)
	}
	for _, l := range lines {
		if l.Trouble == nil {
			fmt.Fprintf(out, "%s  %s until %s\n", l.Chain, l.Subject, l.NotAfter.Local().Format(time.DateTime))
		}
	}
	return errors.Join(failed...)
}

func (s *signing) file(a *station.Authority, o *commands.Options, name string) (signed, error) {
	line, chain, err := s.one(a, o, name)
	if err != nil {
		return line, err
	}
	dir := s.out
	if dir == "" {
		dir = filepath.Dir(name)
	}
	line.Chain = filepath.Join(dir, strings.TrimSuffix(filepath.Base(name), filepath.Ext(name))+".chain.pem")
	return line, write(line.Chain, []byte(identity.EncodeChain(chain)), nil)
}

func (s *signing) one(a *station.Authority, o *commands.Options, name string) (signed, []*x509.Certificate, error) {
	line := signed{Request: name}
	b, err := readInput(o.In, name)
	if err != nil {
		return line, nil, err
	}
	r, err := station.ParseRequest(b)
	if err != nil {
		return line, nil, fault.AskOperator(err, "name what devid-agent csr has written")
	}
	chain, err := a.Sign(r, s.days, "")
	if err != nil {
		return line, nil, err
	}
	leaf := chain[0]
	line.Subject, line.Serial, line.NotAfter = leaf.Subject.String(), leaf.SerialNumber.Text(16), &leaf.NotAfter
	return line, chain, nil
}

func certificates(c ...*x509.Certificate) []*x509.Certificate { return c }
