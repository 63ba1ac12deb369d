package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/commands"
	"github.com/devid-agent/devid-agent/station"
)

// dps is how to reach the enrollment lists of a DPS.
type dps struct {
	way
	connection, connect, version string
	group                        bool
}

func (d *dps) flags(f *flag.FlagSet) {
	d.way.flags(f)
	d.own(f)
	f.BoolVar(&d.group, "group", false, "a group, not an individual enrollment")
}

// own are the flags that are of a DPS alone.
func (d *dps) own(f *flag.FlagSet) {
	f.StringVar(&d.connection, "dps", "", "`FILE` with the connection string of a shared access policy of the DPS")
	f.StringVar(&d.connect, "dps-connect", "", "`HOST:PORT` to dial in place of the DPS's")
	f.StringVar(&d.version, "dps-api-version", "", "`VERSION` of the service interface; the oldest that knows what is asked for where not given")
}

func (d *dps) open(p station.CSRPolicy) (*station.DPS, error) {
	if d.connection == "" {
		return nil, fault.AskOperator(errors.New("which DPS?"), "name a file with its connection string: --dps FILE")
	}
	c, err := station.ReadConnection(d.connection)
	if err != nil {
		return nil, err
	}
	client, err := d.client("--dps", d.connect)
	if err != nil {
		return nil, err
	}
	version := d.version
	if version == "" {
		version = p.Version()
	}
	return station.NewDPS(c, version, client), nil
}

func (d *dps) kind() station.Kind {
	if d.group {
		return station.Group
	}
	return station.Individual
}

func dpsCommands() []commands.Command {
	var e enrollment
	var show, all, remove dps
	return []commands.Command{
		{Name: "dps enroll", Takes: "ID", About: "make an individual enrollment or a group", Flags: e.flags, Run: e.run},
		{Name: "dps show", Takes: "ID", About: "what DPS knows of an enrollment", Flags: show.flags, Run: show.show},
		{Name: "dps list", About: "list the enrollments", Flags: all.flags, Run: all.list},
		{Name: "dps delete", Takes: "ID", About: "remove an enrollment; its devices stay where they are", Flags: remove.flags, Run: remove.remove},
	}
}

func (d *dps) show(ctx context.Context, o *commands.Options, out io.Writer) error {
	s, err := d.open(station.CSRPolicy{})
	if err != nil {
		return err
	}
	defer s.Close()
	e, err := s.Show(ctx, d.kind(), o.Args[0])
	if err != nil {
		return err
	}
	return showEnrollment(e, o, out)
}

// showEnrollment prints no key: it is a secret.
func showEnrollment(e station.Enrollment, o *commands.Options, out io.Writer) error {
	e.Attestation.SymmetricKey = nil
	if o.JSON {
		return commands.PrintJSON(out, e)
	}
	state, hub := "", e.Hub
	if s := e.State; s != nil {
		state = strings.TrimSpace(s.Status + " " + s.Hub + " " + s.Message)
	}
	if hub == "" {
		hub = strings.Join(e.Hubs, " ")
	}
	kind := "enrollment"
	if e.EnrollmentGroupID != "" {
		kind = "group"
	}
	return fields(out, kind, e.ID(), "device", e.DeviceID, "status", e.Status, "attestation", attestation(e), "hub", hub, "allocation", e.Allocation,
		"csr policy", e.CredentialPolicy+e.Policy, "namespace", e.Namespace, "authority", e.Authority, "registration", state, "etag", e.ETag)
}

// attestation is one line about how devices show who they are.
func attestation(e station.Enrollment) string {
	x := e.Attestation.X509
	if x == nil {
		return e.Attestation.Type
	}
	words := []string{e.Attestation.Type}
	for _, c := range []*station.Certificates{x.Client, x.Signing} {
		if c != nil && c.Primary != nil && c.Primary.Info != nil {
			words = append(words, c.Primary.Info.Subject, c.Primary.Info.SHA256)
		}
	}
	if x.References != nil {
		words = append(words, "CA "+x.References.Primary)
	}
	return strings.Join(words, " ")
}

func (d *dps) list(ctx context.Context, o *commands.Options, out io.Writer) error {
	s, err := d.open(station.CSRPolicy{})
	if err != nil {
		return err
	}
	defer s.Close()
	all, err := s.List(ctx, d.kind())
	if err != nil {
		return err
	}
	rows := commands.Table{{"ID", "STATUS", "ATTESTATION", "REGISTRATION"}}
	for i := range all {
		all[i].Attestation.SymmetricKey = nil
		state := ""
		if all[i].State != nil {
			state = all[i].State.Status
		}
		rows.Row(all[i].ID(), all[i].Status, all[i].Attestation.Type, state)
	}
	if o.JSON {
		return commands.PrintJSON(out, all)
	}
	return rows.Print(out)
}

func (d *dps) remove(ctx context.Context, o *commands.Options, out io.Writer) error {
	s, err := d.open(station.CSRPolicy{})
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Delete(ctx, d.kind(), o.Args[0]); err != nil {
		return err
	}
	if o.JSON {
		return commands.PrintJSON(out, map[string]string{"deleted": o.Args[0]})
	}
	_, err = fmt.Fprintf(out, "%s is deleted\n", o.Args[0])
	return err
}
