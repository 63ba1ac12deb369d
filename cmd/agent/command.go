package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

type options struct {
	config string
	json   bool
	args   []string // as many as command.takes allows
}

// command is one thing that the program does. What flags sets is for run: each command line has commands of its own.
type command struct {
	name, about string
	takes       string // the arguments after the name, as usage shows them: NAME, or [NAME] where it may be left out
	flags       func(*flag.FlagSet)
	run         func(ctx context.Context, o options, out io.Writer) error
}

func commands() []command {
	return slices.Concat([]command{
		{name: "run", about: "be the agent: enroll, stream telemetry, renew, until stopped", run: runCommand},
		{name: "enroll", about: "get the first identity now, prove it to the hub, and stop", run: enrollCommand},
		{name: "renew", about: "get a fresh certificate now, also while the agent runs", run: renewCommand},
		{name: "status", about: "what the running agent is doing", run: quick(statusCommand)},
		{name: "check", about: "look at everything the agent needs, and say what to do about it", run: checkCommand},
		{name: "config check", about: "read the configuration and list all mistakes", run: quick(configCheckCommand)},
	}, inJSON(handCommands()), inJSON(keyCommands()), inJSON(attestCommands()), []command{
		{name: "service", takes: "ACTION", about: "install, uninstall, start, stop or status: the agent as a service, where no package made it one", run: serviceCommand},
		{name: "version", about: "print the version", run: quick(versionCommand)},
	})
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
			t := describe(err)
			return errors.Join(err, printJSON(out, outcome{Trouble: &t}))
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
	flags := flag.NewFlagSet("devid-agent "+c.name, flag.ContinueOnError)
	flags.SetOutput(errOut)
	flags.StringVar(&o.config, "config", "/etc/devid-agent/agent.yaml", "configuration `file`")
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
		return c, o, fmt.Errorf("devid-agent %s: %d arguments", c.name, len(o.args))
	}
	return c, o, nil
}

// parse takes flags and arguments in any order; package flag stops at the first argument.
func (o *options) parse(flags *flag.FlagSet, rest []string) error {
	for {
		if err := flags.Parse(rest); err != nil || flags.NArg() == 0 {
			return err
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
	return least, most
}

func (c command) line() string { return strings.TrimSpace(c.name + " " + c.takes) }

func (c command) usage(flags *flag.FlagSet) {
	fmt.Fprintf(flags.Output(), "usage: devid-agent %s [FLAGS]\n%s\n\n", c.line(), c.about)
	flags.PrintDefaults()
}

func usage(w io.Writer) {
	fmt.Fprint(w, "usage: devid-agent COMMAND [--config FILE] [--json]\n\n")
	var t table
	for _, c := range commands() {
		t.row("  "+c.line(), c.about)
	}
	_ = t.print(w)
	fmt.Fprint(w, "\ndevid-agent COMMAND --help lists its flags\n")
}
