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

func ezcaCommands() []command {
	var cas, domains, all ezca
	var r domain
	var q request
	var v struct {
		ezca
		template template
	}
	return []command{
		{name: "ezca cas", about: "list the authorities and templates of EZCA that we may use", flags: cas.flags, run: func(ctx context.Context, o options, out io.Writer) error {
			return cas.with(ctx, func(e *station.EZCA) error { return ezcaCAs(ctx, e, o, out) })
		}},
		{name: "ezca domains", about: "list the names that are registered", flags: domains.flags, run: func(ctx context.Context, o options, out io.Writer) error {
			return domains.with(ctx, func(e *station.EZCA) error { return ezcaDomains(ctx, e, o, out) })
		}},
		{name: "ezca list", about: "list our certificates", flags: all.flags, run: func(ctx context.Context, o options, out io.Writer) error {
			return all.with(ctx, func(e *station.EZCA) error { return ezcaList(ctx, e, o, out) })
		}},
		{name: "ezca register", about: "register the name of a device", flags: r.flags, run: r.run},
		{name: "ezca request", about: "request a certificate for a device", flags: q.flags, run: q.run},
		{name: "ezca revoke", takes: "THUMBPRINT", about: "revoke a certificate, by its SHA-1", flags: func(f *flag.FlagSet) {
			v.ezca.flags(f)
			v.template.flags(f)
		}, run: func(ctx context.Context, o options, out io.Writer) error {
			return v.with(ctx, func(e *station.EZCA) error {
				said, err := e.Revoke(ctx, v.template.CA, o.args[0])
				return message(said, err, o, out)
			})
		}},
	}
}

func message(said string, err error, o options, out io.Writer) error {
	if err != nil {
		return err
	}
	if o.json {
		return printJSON(out, map[string]string{"message": said})
	}
	if said == "" {
		said = "done"
	}
	_, err = fmt.Fprintln(out, said)
	return err
}

func ezcaCAs(ctx context.Context, e *station.EZCA, o options, out io.Writer) error {
	all, err := e.CAs(ctx)
	if err != nil {
		return err
	}
	if o.json {
		return printJSON(out, all)
	}
	rows := [][]string{{"CA", "CA ID", "TEMPLATE", "TYPE", "MAX DAYS", "KEY"}}
	for _, c := range all {
		rows = append(rows, []string{c.CA, c.CAID, c.TemplateID, c.Type, strconv.Itoa(c.MaxDays), c.KeyType})
	}
	return table(out, rows...)
}

func ezcaDomains(ctx context.Context, e *station.EZCA, o options, out io.Writer) error {
	all, err := e.Domains(ctx)
	if err != nil {
		return err
	}
	if o.json {
		return printJSON(out, all)
	}
	rows := [][]string{{"DOMAIN", "CA ID", "TEMPLATE", "OWNERS", "REQUESTERS"}}
	for _, d := range all {
		rows = append(rows, []string{d.Domain, d.CAID, d.TemplateID, people(d.Owners), people(d.Requesters)})
	}
	return table(out, rows...)
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

func ezcaList(ctx context.Context, e *station.EZCA, o options, out io.Writer) error {
	all, err := e.List(ctx)
	if err != nil {
		return err
	}
	if o.json {
		return printJSON(out, all)
	}
	rows := [][]string{{"THUMBPRINT", "SUBJECT", "VALID UNTIL"}}
	for _, c := range all {
		rows = append(rows, []string{c.Thumbprint, c.Subject, c.Expires})
	}
	return table(out, rows...)
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

func (d *domain) run(ctx context.Context, o options, out io.Writer) error {
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

func (q *request) run(ctx context.Context, o options, out io.Writer) error {
	if q.csr == "" {
		return fault.AskOperator(errors.New("which request?"), "name it: --csr FILE, or - for the standard input")
	}
	b, err := o.read(q.csr)
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
		fmt.Fprintf(o.errOut, "%s until %s, thumbprint %s\n", chain[0].Subject, chain[0].NotAfter.Local().Format("2006-01-02 15:04:05"), station.EZCAThumbprint(chain[0]))
		return write(q.out, station.EncodeChain(chain), out)
	})
}
