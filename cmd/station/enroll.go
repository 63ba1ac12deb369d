package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/commands"
	"github.com/devid-agent/devid-agent/station"
)

// enroll are the flags of enroll.
type enroll struct {
	way
	order, folder, list, name string
	ca                        string
	ezca                      ezca
	template                  template
	sign, register, auth      string
	hub                       hub
	dps                       dps
	days, parallel, tries     int
	limit                     time.Duration
	ssh                       station.SSH
	policy                    csrPolicy
	hubHosts                  list
	drop, owners, requesters  list
}

func enrollCommand() commands.Command {
	e := &enroll{}
	return commands.Command{Name: "enroll", Takes: "[HOST...]", About: "enroll an order of devices: over ssh, or from a folder of requests; safe to repeat", Flags: e.flags, Run: e.run}
}

func (e *enroll) flags(f *flag.FlagSet) {
	f.StringVar(&e.order, "order", "", "`DIR` of the order: its journal and its report")
	f.StringVar(&e.name, "name", "", "`NAME` of the order in the report; that of its directory where not given")
	f.StringVar(&e.folder, "folder", "", "take the requests *.csr in `DIR`, and put NAME.chain.pem beside them")
	f.StringVar(&e.list, "list", "", "take the hosts from the CSV `FILE`: HOST,DEVICE lines; a host with another device ID is refused")
	f.Var(&e.drop, "drop", "take `HOST`, which was a mistake, out of the order; repeatable")
	f.StringVar(&e.sign, "sign", "ca", "who signs: ca (--ca), or ezca (--ca-id, --template)")
	f.StringVar(&e.ca, "ca", "", "the authority in `DIR` signs the devices, and the report")
	f.IntVar(&e.days, "days", 0, "life of the certificates; the longest of the policy where not given, 90 at EZCA")
	f.Var(&e.owners, "owner", "at EZCA: register new names for the `OBJECT_ID` of a person or group, as ezca register does; repeatable")
	f.Var(&e.requesters, "requester", "at EZCA: `OBJECT_ID` of who may request certificates for new names; repeatable")
	f.StringVar(&e.register, "register", "", "make the devices known: hub (--hub) or dps (--dps); nowhere where not given")
	f.StringVar(&e.auth, "auth", "ca", "at the hub: ca, or thumbprint")
	f.Var(&e.hubHosts, "hub-host", "at DPS: assign to the hub of that `NAME`; repeatable")
	f.IntVar(&e.parallel, "parallel", 4, "devices at one time")
	f.IntVar(&e.tries, "tries", 3, "for each step of a device, where time may help")
	f.DurationVar(&e.limit, "limit", 5*time.Minute, "for one device")
	f.StringVar(&e.ssh.Program, "ssh", "ssh", "`PATH` of the ssh program")
	f.Var((*list)(&e.ssh.Options), "ssh-option", "`WORD` for ssh, as -F or /path/config; repeatable")
	f.StringVar(&e.ssh.Agent, "agent", "devid-agent", "`COMMAND` of the agent on the device, as \"sudo devid-agent\"; csr and import follow it, or stand where {} is")
	e.way.flags(f)
	e.ezca.own(f)
	e.template.flags(f)
	e.hub.own(f)
	e.dps.own(f)
	e.policy.flags(f)
}

func (e *enroll) run(ctx context.Context, o *commands.Options, out io.Writer) (err error) {
	targets, err := e.targets(o.Args)
	if err != nil {
		return err
	}
	e.ezca.way, e.hub.way, e.dps.way = e.way, e.way, e.way
	order, err := station.OpenOrder(e.order, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, order.Close()) }()
	if err := e.fill(order, targets); err != nil {
		return err
	}
	return e.withCA(ctx, func(a *station.Authority) error {
		return e.withSigner(ctx, a, func(s station.Signer) error { return e.work(ctx, order, a, s, o, out) })
	})
}

func (e *enroll) fill(order *station.Order, targets []target) error {
	for _, t := range targets {
		if err := order.Add(t.name, t.device); err != nil {
			return err
		}
	}
	for _, name := range e.drop {
		if err := order.Drop(name); err != nil {
			return err
		}
	}
	return nil
}

// withCA opens the authority for f; nil where none is named.
func (e *enroll) withCA(ctx context.Context, f func(*station.Authority) error) error {
	if e.ca == "" {
		return f(nil)
	}
	return (&caDir{e.ca}).with(ctx, f)
}

func (e *enroll) withSigner(ctx context.Context, a *station.Authority, f func(station.Signer) error) error {
	switch {
	case e.sign == "ca" && a != nil:
		return f(station.LocalSigner{Authority: a, Days: e.days})
	case e.sign == "ca":
		return fault.AskOperator(errors.New("which authority signs?"), "name it: --ca DIR, or have EZCA sign: --sign ezca")
	case e.sign == "ezca":
		if err := e.template.Check(); err != nil {
			return err
		}
		return e.ezca.with(ctx, func(s *station.EZCA) error { return f(e.ezcaSigner(s)) })
	}
	return fault.AskOperator(fmt.Errorf("--sign %s", e.sign), "choose ca or ezca")
}

func (e *enroll) ezcaSigner(s *station.EZCA) station.Signer {
	days := e.days
	if days == 0 {
		days = 90
	}
	return station.EZCASigner{EZCA: s, CA: e.template.CA, Days: days, Owners: persons(e.owners), Requesters: persons(e.requesters)}
}

func (e *enroll) work(ctx context.Context, order *station.Order, a *station.Authority, s station.Signer, o *commands.Options, out io.Writer) error {
	registrar, end, err := e.registrar()
	if err != nil {
		return err
	}
	defer end()
	b := &station.Batch{Order: order, Reach: e.reach, Signer: s, Registrar: registrar, Parallel: e.parallel, Tries: e.tries, Limit: e.limit,
		Progress: func(i station.Item) { progress(o.ErrOut, i) }}
	failed := b.Run(ctx)
	name := e.name
	if name == "" {
		name = filepath.Base(filepath.Clean(e.order))
	}
	files, err := order.WriteReport(name, a)
	if err != nil {
		return errors.Join(failed, err)
	}
	return errors.Join(failed, summary(order.Report(name), files, a, o, out))
}

// reach is the device of a target of this command line or of an earlier one with the same order.
func (e *enroll) reach(name string) station.Target {
	if e.folder != "" {
		return station.Folder{Dir: e.folder}.Reach(name)
	}
	return e.ssh.Reach(name)
}

func (e *enroll) registrar() (station.Registrar, func(), error) {
	switch e.register {
	case "":
		return nil, func() {}, nil
	case "hub":
		auth, err := authentication(e.auth)
		if err == nil && auth == station.AuthSAS {
			err = fault.AskOperator(errors.New("an order gives certificates, not keys"), "choose --auth ca or thumbprint")
		}
		if err != nil {
			return nil, nil, err
		}
		h, err := e.hub.open()
		if err != nil {
			return nil, nil, err
		}
		return station.HubRegistrar{Hub: h, Auth: auth}, h.Close, nil
	case "dps":
		d, err := e.dps.open(e.policy.CSRPolicy)
		if err != nil {
			return nil, nil, err
		}
		t := station.Enrollment{Status: "enabled", CSRPolicy: e.policy.CSRPolicy}
		t.Hubs, t.Allocation = assigned(e.hubHosts, "")
		return station.DPSRegistrar{DPS: d, Template: t}, d.Close, nil
	}
	return nil, nil, fault.AskOperator(fmt.Errorf("--register %s", e.register), "choose hub or dps")
}
