package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/devid-agent/devid-agent/fault"
)

type options struct {
	json   bool
	args   []string // as many as command.takes allows
	in     io.Reader
	errOut io.Writer // progress
}

// command is one thing that the program does. What flags sets is for run: each command line has commands of its own.
type command struct {
	name, about string
	takes       string // the arguments after the name, as usage shows them: NAME, [NAME] where it may be left out, NAME... for several
	flags       func(*flag.FlagSet)
	run         func(ctx context.Context, o options, out io.Writer) error
}

func commands() []command {
	return inJSON(slices.Concat(caCommands(), ezcaCommands(), hubCommands(), dpsCommands(), []command{enrollCommand(),
		{name: "version", about: "print the version", run: versionCommand}}))
}

// trouble is an error in JSON.
type trouble struct {
	Error string `json:"error"`
	Kind  string `json:"kind"`
	Hint  string `json:"hint,omitempty"`
}

// inJSON has the commands say in JSON, too, why they failed, where they have said nothing else.
func inJSON(all []command) []command {
	for i, c := range all {
		all[i].run = func(ctx context.Context, o options, out io.Writer) error {
			told := &listener{Writer: out}
			err := c.run(ctx, o, told)
			if err == nil || !o.json || told.heard {
				return err
			}
			return errors.Join(err, printJSON(out, trouble{err.Error(), fault.Of(err).String(), fault.Hint(err)}))
		}
	}
	return all
}

// listener knows whether anything was said.
type listener struct {
	io.Writer
	heard bool
}

func (l *listener) Write(b []byte) (int, error) {
	l.heard = true
	return l.Writer.Write(b)
}

// parseCommand finds the command that the first words name; its flags and arguments follow in any order.
func parseCommand(args []string, errOut io.Writer) (command, options, error) {
	c, rest, found := findCommand(args)
	var o options
	flags := flag.NewFlagSet("devid-station "+c.name, flag.ContinueOnError)
	flags.SetOutput(errOut)
	flags.BoolVar(&o.json, "json", false, "print JSON")
	flags.Usage = func() { usage(errOut) }
	if found {
		flags.Usage = func() { c.usage(flags) }
	}
	if c.flags != nil {
		c.flags(flags)
	}
	if err := o.parse(flags, rest); err != nil {
		return c, o, err
	}
	if !found {
		usage(errOut)
		return c, o, fmt.Errorf("unknown command %q", strings.Join(o.args, " "))
	}
	if least, most := c.arity(); len(o.args) < least || len(o.args) > most {
		flags.Usage()
		return c, o, fmt.Errorf("devid-station %s: %d arguments", c.name, len(o.args))
	}
	return c, o, nil
}

// parse takes flags and arguments in any order; package flag stops at the first argument. After -- all are arguments.
func (o *options) parse(flags *flag.FlagSet, rest []string) error {
	var after []string
	if i := slices.Index(rest, "--"); i >= 0 {
		rest, after = rest[:i], rest[i+1:]
	}
	for {
		if err := flags.Parse(rest); err != nil {
			return err
		}
		if flags.NArg() == 0 {
			o.args = append(o.args, after...)
			return nil
		}
		o.args, rest = append(o.args, flags.Arg(0)), flags.Args()[1:]
	}
}

// findCommand returns the command with the longest name that args begin with, and what follows the name.
func findCommand(args []string) (found command, rest []string, ok bool) {
	rest = args
	for _, c := range commands() {
		words := strings.Fields(c.name)
		if len(words) > len(strings.Fields(found.name)) && len(args) >= len(words) && slices.Equal(args[:len(words)], words) {
			found, rest, ok = c, args[len(words):], true
		}
	}
	return found, rest, ok
}

// arity is how many arguments the command takes.
func (c command) arity() (least, most int) {
	for _, a := range strings.Fields(c.takes) {
		if !strings.HasPrefix(a, "[") {
			least++
		}
		most++
	}
	if strings.Contains(c.takes, "...") {
		most = 1 << 20
	}
	return least, most
}

func (c command) line() string { return strings.TrimSpace(c.name + " " + c.takes) }

func (c command) usage(flags *flag.FlagSet) {
	fmt.Fprintf(flags.Output(), "usage: devid-station %s [FLAGS]\n%s\n\n", c.line(), c.about)
	flags.PrintDefaults()
}

func usage(w io.Writer) {
	fmt.Fprint(w, "usage: devid-station COMMAND [--json]\n\n")
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, c := range commands() {
		fmt.Fprintf(t, "  %s\t%s\n", c.line(), c.about)
	}
	_ = t.Flush()
	fmt.Fprint(w, "\ndevid-station COMMAND --help lists its flags\n")
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// table prints rows in columns.
func table(out io.Writer, rows ...[]string) error {
	t := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(t, strings.Join(r, "\t"))
	}
	return t.Flush()
}

// fields prints names and values, but for the empty ones.
func fields(out io.Writer, pairs ...string) error {
	var rows [][]string
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			rows = append(rows, []string{pairs[i], pairs[i+1]})
		}
	}
	return table(out, rows...)
}
