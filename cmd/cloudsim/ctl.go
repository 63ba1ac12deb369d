package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
)

// controller speaks to the control API of a running cloud.
type controller struct {
	client *http.Client
	base   string
	secret string
	in     io.Reader
	out    io.Writer
	err    io.Writer
}

// ctlUsage is the help of ctl. The commands are in the order in which one needs them.
const ctlUsage = `usage: devid-cloudsim ctl [--dir DIR | --control ADDRESS --secret FILE] COMMAND

  list [devices | enrollments]
  create device ID [--sas] [--key FILE] [--thumbprint HEX]... [--ca FILE]
  create enrollment ID [--group] [--device ID] [--no-policy] [--payload JSON]
         [--certificate FILE | --ca FILE | --key FILE | --make-key | --endorsement FILE]
  disable | enable | delete | expire [device | enrollment] ID
  revoke | disconnect ID
  twin ID
  set-desired ID JSON        JSON is - for standard input
  invoke ID METHOD [JSON] [--timeout 30s]
  send ID TEXT [--property NAME=VALUE]... [--id MESSAGE] [--life 1h] [--input NAME]
  events [ID] [--follow] [--after N]
  received [ID] [--follow] [--after N]
  counters
  temper [NAME=VALUE]... [--file FILE] [--reset] [--all]
  ezca-token                 for one certificate
`

// ctl does what a person would do in the portal of Azure.
func ctl(ctx context.Context, args []string, in io.Reader, out, diagnostics io.Writer) error {
	f := flag.NewFlagSet("devid-cloudsim ctl", flag.ContinueOnError)
	f.SetOutput(diagnostics)
	f.Usage = func() { io.WriteString(diagnostics, ctlUsage) }
	dir := f.String("dir", ".", "the cloud's `DIR`")
	address := f.String("control", "", "")
	secret := f.String("secret", "", "")
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return err
	} else if err != nil {
		return errUsage
	}
	if f.NArg() == 0 || commands[f.Arg(0)] == nil {
		fmt.Fprintf(diagnostics, "devid-cloudsim ctl: what is %q?\n%s", f.Arg(0), ctlUsage)
		return errUsage
	}
	if *address == "" {
		place, err := filepath.Abs(*dir)
		if err != nil {
			return err
		}
		*address = filepath.Join(place, "control.sock")
	}
	if *secret == "" {
		*secret = filepath.Join(*dir, "control.secret")
	}
	c, err := newController(*address, *secret)
	if err != nil {
		return err
	}
	c.in, c.out, c.err = in, out, diagnostics
	return commands[f.Arg(0)](ctx, c, f.Args()[1:])
}

func newController(address, secretFile string) (*controller, error) {
	if isSocket(address) {
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", address)
		}
		return &controller{client: &http.Client{Transport: &http.Transport{DialContext: dial}}, base: "http://cloud"}, nil
	}
	secret, err := readSecret(secretFile)
	return &controller{client: &http.Client{}, base: "http://" + address, secret: secret}, err
}

// do sends a request and copies the answer to standard output. An answer that says no is the error.
func (c *controller) do(ctx context.Context, method, path string, body []byte) error {
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	if c.secret != "" {
		r.Header.Set("Authorization", "Bearer "+c.secret)
	}
	response, err := c.client.Do(r)
	if err != nil {
		return fmt.Errorf("ask the cloud: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		return refusal(response)
	}
	if response.Header.Get("Content-Type") == "application/x-ndjson" {
		_, err = io.Copy(c.out, response.Body)
		if ctx.Err() != nil {
			return nil // whoever follows stops it
		}
		return err
	}
	return c.pretty(response.Body)
}

// words takes the arguments that are no flags, wherever they stand: at least least of them, at most most.
func words(f *flag.FlagSet, c *controller, args []string, least, most int) ([]string, error) {
	f.SetOutput(c.err)
	f.Usage = func() { io.WriteString(c.err, ctlUsage) }
	var all []string
	for {
		if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
			return nil, err
		} else if err != nil {
			return nil, errUsage
		}
		rest := f.Args()
		if len(args) > len(rest) && args[len(args)-len(rest)-1] == "--" {
			all = append(all, rest...)
			rest = nil
		}
		if len(rest) == 0 {
			break
		}
		all = append(all, rest[0])
		args = rest[1:]
	}
	if len(all) < least || len(all) > most {
		fmt.Fprintf(c.err, "devid-cloudsim ctl: %d words where %d to %d belong\n%s", len(all), least, most, ctlUsage)
		return nil, errUsage
	}
	return all, nil
}
