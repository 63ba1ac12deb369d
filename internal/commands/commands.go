// Package commands reads the command line of a program that can do several things, and says to people and to programs what
// came of it.
package commands

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Command is one thing that a program does. What Flags sets is for Run: each command line has a Program of its own.
type Command struct {
	Name, About string // Name may be of several words
	Takes       string // the arguments after the name, as usage shows them: NAME, [NAME] where it may be left out, NAME... for several
	Flags       func(*flag.FlagSet)
	Run         func(ctx context.Context, o *Options, out io.Writer) error
}

// Options is what all commands of a program can be told.
type Options struct {
	Config string
	JSON   bool
	Args   []string  // as many as Command.Takes allows
	In     io.Reader // for an argument of "-"; nil until the program sets it
	ErrOut io.Writer // progress
}

// Program is a name and what can follow it.
type Program struct {
	Name     string
	Config   string // what --config is where nobody says; where this is empty, there is no such flag
	Commands []Command
}

// Parse finds the command that the first words name; its flags and arguments follow in any order. "help" before a command
// is --help behind it. What was wrong, or the help that was asked for (flag.ErrHelp), stands on errOut, and an error with
// one line is for the caller to print below.
func (p Program) Parse(args []string, errOut io.Writer) (Command, *Options, error) {
	if len(args) > 0 && args[0] == "help" {
		args = append(args[1:len(args):len(args)], "--help")
	}
	c, rest := p.find(args)
	o := &Options{ErrOut: errOut}
	flags := p.flags(c, o)
	if err := o.parse(flags, rest); err != nil {
		return c, o, err
	}
	if c.Run == nil {
		flags.Usage()
		if len(o.Args) == 0 {
			return c, o, errors.New("which command?")
		}
		return c, o, fmt.Errorf("unknown command %q", strings.Join(o.Args, " "))
	}
	if least, most := c.arity(); len(o.Args) < least || len(o.Args) > most {
		flags.Usage()
		return c, o, fmt.Errorf("%s %s: %d arguments", p.Name, c.Name, len(o.Args))
	}
	return c, o, nil
}

// find returns the command with the longest name that args begin with, and what follows the name.
func (p Program) find(args []string) (found Command, rest []string) {
	rest = args
	for _, c := range p.Commands {
		words := strings.Fields(c.Name)
		if len(words) > len(strings.Fields(found.Name)) && len(args) >= len(words) && slices.Equal(args[:len(words)], words) {
			found, rest = c, args[len(words):]
		}
	}
	return found, rest
}

func (p Program) flags(c Command, o *Options) *flag.FlagSet {
	f := flag.NewFlagSet(p.Name+" "+c.Name, flag.ContinueOnError)
	f.SetOutput(o.ErrOut)
	f.BoolVar(&o.JSON, "json", false, "print JSON")
	if p.Config != "" {
		f.StringVar(&o.Config, "config", p.Config, "configuration `file`")
	}
	if c.Flags != nil {
		c.Flags(f)
	}
	f.Usage = func() { p.usage(c, f) }
	return f
}

// parse takes flags and arguments in any order; package flag stops at the first argument. After -- all are arguments.
func (o *Options) parse(flags *flag.FlagSet, rest []string) error {
	var after []string
	if i := slices.Index(rest, "--"); i >= 0 {
		rest, after = rest[:i], rest[i+1:]
	}
	for {
		if err := flags.Parse(rest); err != nil {
			return err
		}
		if flags.NArg() == 0 {
			o.Args = append(o.Args, after...)
			return nil
		}
		o.Args, rest = append(o.Args, flags.Arg(0)), flags.Args()[1:]
	}
}

// arity is how many arguments the command takes.
func (c Command) arity() (least, most int) {
	for _, a := range strings.Fields(c.Takes) {
		if !strings.HasPrefix(a, "[") {
			least++
		}
		most++
	}
	if strings.Contains(c.Takes, "...") {
		most = 1 << 20
	}
	return least, most
}

func (c Command) line() string { return strings.TrimSpace(c.Name + " " + c.Takes) }

// usage says what c takes, or, where no command was named, which commands there are.
func (p Program) usage(c Command, flags *flag.FlagSet) {
	w := flags.Output()
	if c.Run != nil {
		fmt.Fprintf(w, "usage: %s %s [FLAGS]\n%s\n\n", p.Name, c.line(), c.About)
		flags.PrintDefaults()
		return
	}
	shared := "[--json]"
	if p.Config != "" {
		shared = "[--config FILE] " + shared
	}
	fmt.Fprintf(w, "usage: %s COMMAND %s\n\n", p.Name, shared)
	var t Table
	for _, c := range p.Commands {
		t.Row("  "+c.line(), c.About)
	}
	_ = t.Print(w)
	fmt.Fprintf(w, "\n%s COMMAND --help lists its flags\n", p.Name)
}
