package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/station"
)

func caCommands() []command {
	var f founding
	var sign signing
	var certify struct {
		caDir
		kind, out string
		days      int
	}
	var prove struct {
		caDir
		out string
	}
	var install, show, issued caDir
	return []command{
		{name: "ca init", takes: "KIND", about: "make an authority: root, company, factory or technician", flags: f.flags, run: f.run},
		{name: "ca certify", takes: "REQUEST", about: "make the sender of a request an authority below this one", flags: func(fs *flag.FlagSet) {
			certify.flags(fs)
			fs.StringVar(&certify.kind, "kind", "", "make it a company, factory or technician")
			fs.IntVar(&certify.days, "days", 0, "life of its certificate; 15, 5 and 1 years where not given")
			fs.StringVar(&certify.out, "out", "", "write the chain into `FILE`; to the standard output where not given")
		}, run: func(ctx context.Context, o options, out io.Writer) error {
			return certify.with(ctx, func(a *station.Authority) error { return caCertify(a, o, certify.kind, certify.days, certify.out, out) })
		}},
		{name: "ca install", takes: "CHAIN", about: "put the chain in force that was made for the request of this authority", flags: install.flags,
			run: func(ctx context.Context, o options, out io.Writer) error {
				return caInstall(ctx, o, install.dir, out)
			}},
		{name: "ca sign", takes: "CSR...", about: "sign requests of devices, where the policy allows it", flags: sign.flags, run: sign.run},
		{name: "ca prove", takes: "CODE", about: "prove to IoT Hub or DPS that we hold the key of this authority", flags: func(fs *flag.FlagSet) {
			prove.flags(fs)
			fs.StringVar(&prove.out, "out", "", "write the certificate into `FILE`; to the standard output where not given")
		}, run: func(ctx context.Context, o options, out io.Writer) error {
			return prove.with(ctx, func(a *station.Authority) error { return caProve(a, o, prove.out, out) })
		}},
		{name: "ca show", about: "what the authority is, and what it signs", flags: show.flags, run: func(ctx context.Context, o options, out io.Writer) error {
			return show.with(ctx, func(a *station.Authority) error { return caShow(a, o, out) })
		}},
		{name: "ca issued", about: "list what the authority has issued", flags: issued.flags, run: func(ctx context.Context, o options, out io.Writer) error {
			return issued.with(ctx, func(a *station.Authority) error { return caIssued(a, o, out) })
		}},
	}
}

// caDir names an authority.
type caDir struct{ dir string }

func (c *caDir) flags(f *flag.FlagSet) {
	f.StringVar(&c.dir, "ca", "", "the authority is in `DIR`")
}

// with opens the authority for f.
func (c *caDir) with(ctx context.Context, f func(*station.Authority) error) error {
	if c.dir == "" {
		return fault.AskOperator(errors.New("which authority?"), "name its directory: --ca DIR")
	}
	a, err := station.OpenAuthority(ctx, c.dir, nil)
	if err != nil {
		return err
	}
	return errors.Join(f(a), a.Close())
}

// founding are the flags of ca init.
type founding struct {
	caDir
	parent, cn, organization, algorithm string
	days                                int
	place                               place
	policy                              station.Policy
	keys                                list
}

func (f *founding) flags(fs *flag.FlagSet) {
	f.caDir.flags(fs)
	fs.StringVar(&f.parent, "parent", "", "the authority in `DIR` certifies it; else request.pem is for the one above, who is elsewhere")
	fs.StringVar(&f.cn, "cn", "", "`NAME` of the authority")
	fs.StringVar(&f.organization, "org", "", "`ORGANIZATION` in its name")
	fs.StringVar(&f.algorithm, "algorithm", "ecdsa-p256", "of its key: ecdsa-p256, ecdsa-p384, rsa-2048, rsa-3072, rsa-4096")
	fs.IntVar(&f.days, "days", 0, "life of its certificate; 25, 15, 5 and 1 years where not given")
	f.place.flags(fs)
	standard := station.DefaultPolicy()
	fs.StringVar(&f.policy.CN, "allow-cn", standard.CN, "sign for devices whose common name matches `REGEXP`")
	fs.IntVar(&f.policy.MaxDays, "max-days", standard.MaxDays, "sign for devices for at most `N` days")
	fs.Var(&f.keys, "allow-key", "sign for devices with keys of this `KIND`; repeatable, all kinds where not given")
}

func (f *founding) run(ctx context.Context, o options, out io.Writer) error {
	if f.dir == "" {
		return fault.AskOperator(errors.New("where is it to be?"), "name its directory: --ca DIR")
	}
	f.place.Algorithm, f.policy.Keys = f.algorithm, f.keys
	if len(f.keys) == 0 {
		f.policy.Keys = station.DefaultPolicy().Keys
	}
	founding := station.Founding{Dir: f.dir, Kind: o.args[0], Name: f.cn, Organization: f.organization, Days: f.days, Place: f.place.Place, Policy: f.policy}
	if f.parent == "" {
		return f.found(ctx, founding, o, out)
	}
	return (&caDir{f.parent}).with(ctx, func(parent *station.Authority) error {
		founding.Parent = parent
		return f.found(ctx, founding, o, out)
	})
}

func (f *founding) found(ctx context.Context, founding station.Founding, o options, out io.Writer) error {
	a, err := station.Found(ctx, founding)
	if errors.Is(err, station.ErrUnfinished) {
		request := filepath.Join(f.dir, "request.pem")
		if o.json {
			return printJSON(out, map[string]string{"request": request})
		}
		_, err := fmt.Fprintf(out, "its request is in %s\nhave it certified above: devid-station ca certify --kind %s; then devid-station ca install CHAIN --ca %s\n",
			request, founding.Kind, f.dir)
		return err
	}
	if err != nil {
		return err
	}
	return errors.Join(caShow(a, o, out), a.Close())
}

func caCertify(a *station.Authority, o options, kind string, days int, file string, out io.Writer) error {
	b, err := o.read(o.args[0])
	if err != nil {
		return err
	}
	r, err := station.ParseRequest(b)
	if err != nil {
		return fault.As(fault.Permanent, err)
	}
	chain, err := a.Certify(r, kind, days)
	if err != nil {
		return err
	}
	return write(file, station.EncodeChain(chain), out)
}

func caInstall(ctx context.Context, o options, dir string, out io.Writer) error {
	b, err := o.read(o.args[0])
	if err != nil {
		return err
	}
	chain, err := station.ParseChain(b)
	if err != nil {
		return fault.AskOperator(fmt.Errorf("%s: %w", o.args[0], err), "name the chain that devid-station ca certify made")
	}
	a, err := station.Install(ctx, dir, chain)
	if err != nil {
		return err
	}
	return errors.Join(caShow(a, o, out), a.Close())
}

func caProve(a *station.Authority, o options, file string, out io.Writer) error {
	c, err := a.Prove(strings.TrimSpace(o.args[0]))
	if err != nil {
		return err
	}
	return write(file, station.EncodeChain(certificates(c)), out)
}

func caShow(a *station.Authority, o options, out io.Writer) error {
	c, p := a.Certificate(), a.Policy()
	if o.json {
		return printJSON(out, map[string]any{"kind": a.Kind(), "subject": c.Subject.String(), "issuer": c.Issuer.String(), "not_after": c.NotAfter.UTC(),
			"serial": c.SerialNumber.Text(16), "sha256": station.Thumbprint(c), "key": a.Place(), "policy": p})
	}
	return fields(out, "kind", a.Kind(), "subject", c.Subject.String(), "issuer", c.Issuer.String(), "valid until", c.NotAfter.Local().Format(time.DateTime),
		"serial", c.SerialNumber.Text(16), "sha256", station.Thumbprint(c), "key", a.Place(),
		"signs", fmt.Sprintf("names like %s, for up to %d days, with keys of %s", p.CN, p.MaxDays, strings.Join(p.Keys, ", ")))
}

func caIssued(a *station.Authority, o options, out io.Writer) error {
	all, err := a.Issued()
	if err != nil {
		return err
	}
	if o.json {
		return printJSON(out, all)
	}
	rows := [][]string{{"SERIAL", "FOR", "SUBJECT", "VALID UNTIL"}}
	for _, i := range all {
		until := "only reserved"
		if i.Certificate != "" {
			until = i.NotAfter.Local().Format(time.DateTime)
		}
		rows = append(rows, []string{i.Serial, i.For, i.Subject, until})
	}
	return table(out, rows...)
}
