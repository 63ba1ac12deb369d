package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/commands"
	"github.com/devid-agent/devid-agent/station"
)

// hub is how to reach the registry of an IoT hub.
type hub struct {
	way
	connection, connect, version string
}

func (h *hub) flags(f *flag.FlagSet) {
	h.way.flags(f)
	h.own(f)
}

// own are the flags that are of a hub alone.
func (h *hub) own(f *flag.FlagSet) {
	f.StringVar(&h.connection, "hub", "", "`FILE` with the connection string of a shared access policy of the hub")
	f.StringVar(&h.connect, "hub-connect", "", "`HOST:PORT` to dial in place of the hub's")
	f.StringVar(&h.version, "hub-api-version", station.HubAPI, "`VERSION` of the hub's service interface")
}

func (h *hub) open() (*station.Hub, error) {
	if h.connection == "" {
		return nil, fault.AskOperator(errors.New("which hub?"), "name a file with its connection string: --hub FILE")
	}
	c, err := station.ReadConnection(h.connection)
	if err != nil {
		return nil, err
	}
	client, err := h.client("--hub", h.connect)
	if err != nil {
		return nil, err
	}
	return station.NewHub(c, h.version, client), nil
}

// creation are the flags of hub create.
type creation struct {
	hub
	auth, certificate, keyOut string
	thumbprints               list
	disabled                  bool
}

func (c *creation) flags(f *flag.FlagSet) {
	c.hub.flags(f)
	f.StringVar(&c.auth, "auth", "ca", "how it shows who it is: ca, thumbprint, or sas, which is the weakest")
	f.StringVar(&c.certificate, "certificate", "", "take the thumbprint of the certificate in `FILE`")
	f.Var(&c.thumbprints, "thumbprint", "SHA-256 or SHA-1 of its certificate in `HEX`; twice for a second one")
	f.StringVar(&c.keyOut, "key-out", "", "write the first symmetric key into `FILE` (base64, mode 0600)")
	f.BoolVar(&c.disabled, "disabled", false, "do not let it in yet")
}

func hubCommands() []commands.Command {
	var create creation
	var show, enable, remove hub
	var disable struct {
		hub
		reason string
	}
	set := func(h *hub, enabled bool, reason *string) func(context.Context, *commands.Options, io.Writer) error {
		return func(ctx context.Context, o *commands.Options, out io.Writer) error {
			return h.do(o, out, func(r *station.Hub) (station.Device, error) { return r.SetStatus(ctx, o.Args[0], enabled, *reason) })
		}
	}
	return []commands.Command{
		{Name: "hub create", Takes: "DEVICE", About: "register a device, or a module as DEVICE/MODULE", Flags: create.flags, Run: create.run},
		{Name: "hub show", Takes: "DEVICE", About: "what the hub knows of a device", Flags: show.flags, Run: func(ctx context.Context, o *commands.Options, out io.Writer) error {
			return show.do(o, out, func(r *station.Hub) (station.Device, error) { return r.Show(ctx, o.Args[0]) })
		}},
		{Name: "hub disable", Takes: "DEVICE", About: "keep a device out, and cut it off", Flags: func(f *flag.FlagSet) {
			disable.flags(f)
			f.StringVar(&disable.reason, "reason", "", "`WORDS` that are kept with it")
		}, Run: set(&disable.hub, false, &disable.reason)},
		{Name: "hub enable", Takes: "DEVICE", About: "let a device in again", Flags: enable.flags, Run: set(&enable, true, new(string))},
		{Name: "hub delete", Takes: "DEVICE", About: "remove a device with its modules, or one module", Flags: remove.flags, Run: func(ctx context.Context, o *commands.Options, out io.Writer) error {
			return remove.remove(ctx, o, out)
		}},
	}
}

// do prints the device that f returns.
func (h *hub) do(o *commands.Options, out io.Writer, f func(*station.Hub) (station.Device, error)) error {
	r, err := h.open()
	if err != nil {
		return err
	}
	defer r.Close()
	d, err := f(r)
	if err != nil {
		return err
	}
	return showDevice(d, o, out)
}

func (h *hub) remove(ctx context.Context, o *commands.Options, out io.Writer) error {
	r, err := h.open()
	if err != nil {
		return err
	}
	defer r.Close()
	if err := r.Delete(ctx, o.Args[0]); err != nil {
		return err
	}
	if o.JSON {
		return commands.PrintJSON(out, map[string]string{"deleted": o.Args[0]})
	}
	_, err = fmt.Fprintf(out, "%s is deleted\n", o.Args[0])
	return err
}

// showDevice prints no key: it is a secret.
func showDevice(d station.Device, o *commands.Options, out io.Writer) error {
	d.Authentication.SymmetricKey = nil
	if o.JSON {
		return commands.PrintJSON(out, d)
	}
	var t station.Thumbprints
	if d.Authentication.Thumbprint != nil {
		t = *d.Authentication.Thumbprint
	}
	return fields(out, "device", d.DeviceID, "module", d.ModuleID, "status", d.Status, "reason", d.StatusReason, "authentication", d.Authentication.Type,
		"thumbprint", t.Primary, "second thumbprint", t.Secondary, "connection", d.ConnectionState, "last seen", d.LastSeen(), "etag", d.ETag)
}

func (c *creation) run(ctx context.Context, o *commands.Options, out io.Writer) error {
	d, err := c.device(o)
	if err != nil {
		return err
	}
	return c.do(o, out, func(r *station.Hub) (station.Device, error) {
		made, err := r.Create(ctx, d)
		if err != nil || c.keyOut == "" {
			return made, err
		}
		if made.Authentication.SymmetricKey == nil || made.Authentication.SymmetricKey.Primary == "" {
			return made, fault.As(fault.Permanent, errors.New("the hub returned no key"))
		}
		return made, write(c.keyOut, []byte(made.Authentication.SymmetricKey.Primary+"\n"), nil)
	})
}

func (c *creation) device(o *commands.Options) (station.Device, error) {
	device, module, err := station.SplitName(o.Args[0])
	if err != nil {
		return station.Device{}, err
	}
	d := station.Device{DeviceID: device, ModuleID: module}
	if c.disabled {
		d.Status = "disabled"
	}
	if d.Authentication.Type, err = authentication(c.auth); err != nil {
		return d, err
	}
	if d.Authentication.Type != station.AuthThumbprint && (c.certificate != "" || len(c.thumbprints) > 0) || d.Authentication.Type != station.AuthSAS && c.keyOut != "" {
		return d, fault.AskOperator(fmt.Errorf("a flag is for another --auth than %s", c.auth), "--certificate and --thumbprint are for thumbprint, --key-out is for sas")
	}
	if d.Authentication.Type == station.AuthThumbprint {
		d.Authentication.Thumbprint, err = c.prints(o)
	}
	return d, err
}

// authentication is what the hub calls a value of --auth.
func authentication(auth string) (string, error) {
	kind, ok := map[string]string{"ca": station.AuthCA, "thumbprint": station.AuthThumbprint, "sas": station.AuthSAS}[auth]
	if !ok {
		return "", fault.AskOperator(fmt.Errorf("--auth %s", auth), "choose ca, thumbprint or sas")
	}
	return kind, nil
}

// hexPrint is how a hub takes thumbprints: SHA-1 or SHA-256, without separators.
var hexPrint = regexp.MustCompile(`^([0-9A-F]{40}|[0-9A-F]{64})$`)

func (c *creation) prints(o *commands.Options) (*station.Thumbprints, error) {
	if c.certificate != "" {
		b, err := readInput(o.In, c.certificate)
		if err != nil {
			return nil, err
		}
		chain, err := identity.ParseChain(b)
		if err != nil {
			return nil, fault.AskOperator(fmt.Errorf("%s: %w", c.certificate, err), "put the certificate there as PEM")
		}
		c.thumbprints = append(list{station.Thumbprint(chain[0])}, c.thumbprints...)
	}
	if len(c.thumbprints) == 0 || len(c.thumbprints) > 2 {
		return nil, fault.AskOperator(fmt.Errorf("%d thumbprints", len(c.thumbprints)), "give one or two: --certificate, --thumbprint")
	}
	for i, p := range c.thumbprints {
		p = strings.ToUpper(strings.NewReplacer(":", "", " ", "").Replace(p))
		if !hexPrint.MatchString(p) {
			return nil, fault.AskOperator(fmt.Errorf("%q is no thumbprint", p), "give 40 or 64 hex digits: openssl x509 -in FILE -noout -fingerprint -sha256")
		}
		c.thumbprints[i] = p
	}
	t := &station.Thumbprints{Primary: c.thumbprints[0]}
	if len(c.thumbprints) == 2 {
		t.Secondary = c.thumbprints[1]
	}
	return t, nil
}
