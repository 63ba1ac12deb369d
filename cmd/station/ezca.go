package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/commands"
	"github.com/devid-agent/devid-agent/station"
)

// ezca is how to reach EZCA.
type ezca struct {
	way
	entra        entra
	url, connect string
}

func (e *ezca) flags(f *flag.FlagSet) {
	e.way.flags(f)
	e.own(f)
}

// own are the flags that are of EZCA alone.
func (e *ezca) own(f *flag.FlagSet) {
	f.StringVar(&e.url, "ezca", station.EZCAURL, "`URL` of EZCA")
	f.StringVar(&e.connect, "ezca-connect", "", "`HOST:PORT` to dial in place of EZCA's")
	e.entra.flags(f)
}

// with opens EZCA for f.
func (e *ezca) with(ctx context.Context, f func(*station.EZCA) error) error {
	client, err := e.client("--ezca", e.connect)
	if err != nil {
		return err
	}
	token, end, err := e.entra.token(ctx, e.way)
	if err != nil {
		return err
	}
	s, err := station.NewEZCA(e.url, token, client)
	if err != nil {
		return errors.Join(err, end())
	}
	defer s.Close()
	return errors.Join(f(s), end())
}

// template names where EZCA's certificates come from.
type template struct{ station.CA }

func (t *template) flags(f *flag.FlagSet) {
	f.StringVar(&t.ID, "ca-id", "", "`GUID` of the authority: ezca cas")
	f.StringVar(&t.Template, "template", "", "`GUID` of its template: ezca cas")
}

func ezcaCommands() []commands.Command {
	var cas, domains, all ezca
	var r domain
	var q request
	var v struct {
		ezca
		template template
	}
	return []commands.Command{
		{Name: "ezca cas", About: "list the authorities and templates of EZCA that we may use", Flags: cas.flags, Run: func(ctx context.Context, o *commands.Options, out io.Writer) error {
			return cas.with(ctx, func(e *station.EZCA) error { return ezcaCAs(ctx, e, o, out) })
		}},
		{Name: "ezca domains", About: "list the names that are registered", Flags: domains.flags, Run: func(ctx context.Context, o *commands.Options, out io.Writer) error {
			return domains.with(ctx, func(e *station.EZCA) error { return ezcaDomains(ctx, e, o, out) })
		}},
		{Name: "ezca list", About: "list our certificates", Flags: all.flags, Run: func(ctx context.Context, o *commands.Options, out io.Writer) error {
			return all.with(ctx, func(e *station.EZCA) error { return ezcaList(ctx, e, o, out) })
		}},
		{Name: "ezca register", About: "register the name of a device", Flags: r.flags, Run: r.run},
		{Name: "ezca request", About: "request a certificate for a device", Flags: q.flags, Run: q.run},
		{Name: "ezca revoke", Takes: "THUMBPRINT", About: "revoke a certificate, by its SHA-1", Flags: func(f *flag.FlagSet) {
			v.ezca.flags(f)
			v.template.flags(f)
		}, Run: func(ctx context.Context, o *commands.Options, out io.Writer) error {
			return v.with(ctx, func(e *station.EZCA) error {
				said, err := e.Revoke(ctx, v.template.CA, o.Args[0])
				return message(said, err, o, out)
			})
		}},
	}
}

func message(said string, err error, o *commands.Options, out io.Writer) error {
	if err != nil {
		return err
	}
	if o.JSON {
		return commands.PrintJSON(out, map[string]string{"message": said})
	}
	if said == "" {
		said = "done"
	}
	_, err = fmt.Fprintln(out, said)
	return err
}

func ezcaCAs(ctx context.Context, e *station.EZCA, o *commands.Options, out io.Writer) error {
	all, err := e.CAs(ctx)
	if err != nil {
		return err
	}
	if o.JSON {
		return commands.PrintJSON(out, all)
	}
	rows := commands.Table{{"CA", "CA ID", "TEMPLATE", "TYPE", "MAX DAYS", "KEY"}}
	for _, c := range all {
		rows.Row(c.CA, c.CAID, c.TemplateID, c.Type, strconv.Itoa(c.MaxDays), c.KeyType)
	}
	return rows.Print(out)
}

func ezcaDomains(ctx context.Context, e *station.EZCA, o *commands.Options, out io.Writer) error {
	all, err := e.Domains(ctx)
	if err != nil {
		return err
	}
	if o.JSON {
		return commands.PrintJSON(out, all)
	}
	rows := commands.Table{{"DOMAIN", "CA ID", "TEMPLATE", "OWNERS", "REQUESTERS"}}
	for _, d := range all {
		rows.Row(d.Domain, d.CAID, d.TemplateID, people(d.Owners), people(d.Requesters))
	}
	return rows.Print(out)
}

func people(all []station.Person) string {
	var names []string
	for _, p := range all {
		name := p.Name
		if name == "" {
			name = p.ObjectID
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

func ezcaList(ctx context.Context, e *station.EZCA, o *commands.Options, out io.Writer) error {
	all, err := e.List(ctx)
	if err != nil {
		return err
	}
	if o.JSON {
		return commands.PrintJSON(out, all)
	}
	rows := commands.Table{{"THUMBPRINT", "SUBJECT", "VALID UNTIL"}}
	for _, c := range all {
		rows.Row(c.Thumbprint, c.Subject, c.Expires)
	}
	return rows.Print(out)
}

// domain are the flags of ezca register.
type domain struct {
	ezca
	template           template
	name               string
	owners, requesters list
	emails             list
}

func (d *domain) flags(f *flag.FlagSet) {
	d.ezca.flags(f)
	d.template.flags(f)
	f.StringVar(&d.name, "domain", "", "`ID` of the device")
	f.Var(&d.owners, "owner", "`OBJECT_ID` in Entra of a person or group who owns the name; TYPE:OBJECT_ID where it is no User; repeatable")
	f.Var(&d.requesters, "requester", "`OBJECT_ID` of who may request and revoke certificates, an application too; repeatable")
	f.Var(&d.emails, "email", "`ADDRESS` that EZCA writes to; repeatable")
}

func (d *domain) run(ctx context.Context, o *commands.Options, out io.Writer) error {
	return d.with(ctx, func(e *station.EZCA) error {
		said, err := e.Register(ctx, station.DomainRequest{CA: d.template.CA, Domain: d.name, Owners: persons(d.owners), Requesters: persons(d.requesters), Emails: d.emails})
		return message(said, err, o, out)
	})
}

// persons reads TYPE:OBJECT_ID. EZCA's words for other types than User are not confirmed, so that any is taken.
func persons(all []string) []station.Person {
	var people []station.Person
	for _, text := range all {
		p := station.Person{ObjectID: text, Name: text, Type: "User", Valid: true}
		if kind, id, ok := strings.Cut(text, ":"); ok {
			p.Type, p.ObjectID, p.Name = kind, id, id
		}
		people = append(people, p)
	}
	return people
}

// request are the flags of ezca request.
type request struct {
	ezca
	template template
	csr, out string
	days     int
}

func (q *request) flags(f *flag.FlagSet) {
	q.ezca.flags(f)
	q.template.flags(f)
	f.StringVar(&q.csr, "csr", "", "the request in `FILE`, - for the standard input")
	f.IntVar(&q.days, "days", 90, "life of the certificate")
	f.StringVar(&q.out, "out", "", "write the chain into `FILE`; to the standard output where not given")
}

func (q *request) run(ctx context.Context, o *commands.Options, out io.Writer) error {
	if q.csr == "" {
		return fault.AskOperator(errors.New("which request?"), "name it: --csr FILE, or - for the standard input")
	}
	b, err := readInput(o.In, q.csr)
	if err != nil {
		return err
	}
	r, err := station.ParseRequest(b)
	if err != nil {
		return fault.AskOperator(fmt.Errorf("%s: %w", q.csr, err), "name what devid-agent csr has written")
	}
	return q.with(ctx, func(e *station.EZCA) error {
		chain, err := e.Request(ctx, q.template.CA, r, q.days)
		if err != nil {
			return err
		}
		fmt.Fprintf(o.ErrOut, "%s until %s, thumbprint %s\n", chain[0].Subject, chain[0].NotAfter.Local().Format("2006-01-02 15:04:05"), station.EZCAThumbprint(chain[0]))
		return write(q.out, []byte(identity.EncodeChain(chain)), out)
	})
}
