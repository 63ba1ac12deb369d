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
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/commands"
	"github.com/devid-agent/devid-agent/station"
)

func caCommands() []commands.Command {
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
	return []commands.Command{
		{Name: "ca init", Takes: "KIND", About: "make an authority: root, company, factory or technician", Flags: f.flags, Run: f.run},
		{Name: "ca certify", Takes: "REQUEST", About: "make the sender of a request an authority below this one", Flags: func(fs *flag.FlagSet) {
			certify.flags(fs)
			fs.StringVar(&certify.kind, "kind", "", "make it a company, factory or technician")
			fs.IntVar(&certify.days, "days", 0, "life of its certificate; 15, 5 and 1 years where not given")
			fs.StringVar(&certify.out, "out", "", "write the chain into `FILE`; to the standard output where not given")
		}, Run: func(ctx context.Context, o *commands.Options, out io.Writer) error {
			return certify.with(ctx, func(a *station.Authority) error { return caCertify(a, o, certify.kind, certify.days, certify.out, out) })
		}},
		{Name: "ca install", Takes: "CHAIN", About: "put the chain in force that was made for the request of this authority", Flags: install.flags,
			Run: func(ctx context.Context, o *commands.Options, out io.Writer) error {
				return caInstall(ctx, o, install.dir, out)
			}},
		{Name: "ca sign", Takes: "CSR...", About: "sign requests of devices, where the policy allows it", Flags: sign.flags, Run: sign.run},
		{Name: "ca prove", Takes: "CODE", About: "prove to IoT Hub or DPS that we hold the key of this authority", Flags: func(fs *flag.FlagSet) {
			prove.flags(fs)
			fs.StringVar(&prove.out, "out", "", "write the certificate into `FILE`; to the standard output where not given")
		}, Run: func(ctx context.Context, o *commands.Options, out io.Writer) error {
			return prove.with(ctx, func(a *station.Authority) error { return caProve(a, o, prove.out, out) })
		}},
		{Name: "ca show", About: "what the authority is, and what it signs", Flags: show.flags, Run: func(ctx context.Context, o *commands.Options, out io.Writer) error {
			return show.with(ctx, func(a *station.Authority) error { return caShow(a, o, out) })
		}},
		{Name: "ca issued", About: "list what the authority has issued", Flags: issued.flags, Run: func(ctx context.Context, o *commands.Options, out io.Writer) error {
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

func (f *founding) run(ctx context.Context, o *commands.Options, out io.Writer) error {
	if f.dir == "" {
		return fault.AskOperator(errors.New("where is it to be?"), "name its directory: --ca DIR")
	}
	f.place.Algorithm, f.policy.Keys = f.algorithm, f.keys
	if len(f.keys) == 0 {
		f.policy.Keys = station.DefaultPolicy().Keys
	}
	founding := station.Founding{Dir: f.dir, Kind: o.Args[0], Name: f.cn, Organization: f.organization, Days: f.days, Place: f.place.Place, Policy: f.policy}
	if f.parent == "" {
		return f.found(ctx, founding, o, out)
	}
	return (&caDir{f.parent}).with(ctx, func(parent *station.Authority) error {
		founding.Parent = parent
		return f.found(ctx, founding, o, out)
	})
}

func (f *founding) found(ctx context.Context, founding station.Founding, o *commands.Options, out io.Writer) error {
	a, err := station.Found(ctx, founding)
	if errors.Is(err, station.ErrUnfinished) {
		request := filepath.Join(f.dir, "request.pem")
		if o.JSON {
			return commands.PrintJSON(out, map[string]string{"request": request})
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

func caCertify(a *station.Authority, o *commands.Options, kind string, days int, file string, out io.Writer) error {
	b, err := readInput(o.In, o.Args[0])
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
	return write(file, []byte(identity.EncodeChain(chain)), out)
}

func caInstall(ctx context.Context, o *commands.Options, dir string, out io.Writer) error {
	b, err := readInput(o.In, o.Args[0])
	if err != nil {
		return err
	}
	chain, err := identity.ParseChain(b)
	if err != nil {
		return fault.AskOperator(fmt.Errorf("%s: %w", o.Args[0], err), "name the chain that devid-station ca certify made")
	}
	a, err := station.Install(ctx, dir, chain)
	if err != nil {
		return err
	}
	return errors.Join(caShow(a, o, out), a.Close())
}

func caProve(a *station.Authority, o *commands.Options, file string, out io.Writer) error {
	c, err := a.Prove(strings.TrimSpace(o.Args[0]))
	if err != nil {
		return err
	}
	return write(file, []byte(identity.EncodeChain(certificates(c))), out)
}

func caShow(a *station.Authority, o *commands.Options, out io.Writer) error {
	c, p := a.Certificate(), a.Policy()
	if o.JSON {
		return commands.PrintJSON(out, map[string]any{"kind": a.Kind(), "subject": c.Subject.String(), "issuer": c.Issuer.String(), "not_after": c.NotAfter.UTC(),
			"serial": c.SerialNumber.Text(16), "sha256": station.Thumbprint(c), "key": a.Place(), "policy": p})
	}
	return fields(out, "kind", a.Kind(), "subject", c.Subject.String(), "issuer", c.Issuer.String(), "valid until", c.NotAfter.Local().Format(time.DateTime),
		"serial", c.SerialNumber.Text(16), "sha256", station.Thumbprint(c), "key", a.Place(),
		"signs", fmt.Sprintf("names like %s, for up to %d days, with keys of %s", p.CN, p.MaxDays, strings.Join(p.Keys, ", ")))
}

func caIssued(a *station.Authority, o *commands.Options, out io.Writer) error {
	all, err := a.Issued()
	if err != nil {
		return err
	}
	if o.JSON {
		return commands.PrintJSON(out, all)
	}
	rows := commands.Table{{"SERIAL", "FOR", "SUBJECT", "VALID UNTIL"}}
	for _, i := range all {
		until := "only reserved"
		if i.Certificate != "" {
			until = i.NotAfter.Local().Format(time.DateTime)
		}
		rows.Row(i.Serial, i.For, i.Subject, until)
	}
	return rows.Print(out)
}
