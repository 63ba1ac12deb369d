package commands

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/devid-agent/devid-agent/fault"
)

// toolbox is a program whose commands print what they were told.
func toolbox() Program {
	var size int
	say := func(_ context.Context, o *Options, out io.Writer) error {
		_, err := fmt.Fprintln(out, o.Args, o.JSON, o.Config, size)
		return err
	}
	return Program{Name: "toolbox", Config: "default.yaml", Commands: []Command{
		{Name: "saw", About: "cut", Takes: "WOOD [OTHER]", Flags: func(f *flag.FlagSet) { f.IntVar(&size, "size", 1, "teeth") }, Run: say},
		{Name: "saw show", About: "look at it", Run: say},
		{Name: "nail", About: "join", Takes: "WOOD...", Run: say},
		VersionOf("toolbox", "1.2"),
	}}
}

// typed runs one command line of the toolbox.
func typed(args ...string) (said, errOut string, err error) {
	var out, below bytes.Buffer
	c, o, err := toolbox().Parse(args, &below)
	if err == nil {
		err = c.Run(context.Background(), o, &out)
	}
	return out.String(), below.String(), err
}

func TestFlagsAndArgumentsComeInAnyOrder(t *testing.T) {
	for line, want := range map[string]string{
		"saw oak":                                "[oak] false default.yaml 1",
		"saw --size 3 oak --json ash --config x": "[oak ash] true x 3",
		"saw oak -- --json":                      "[oak --json] false default.yaml 1",
		"saw show --json":                        "[] true default.yaml 0",
		"nail a b c d":                           "[a b c d] false default.yaml 0",
		"version":                                "toolbox 1.2 (",
		"saw -size=2 -config=a.yaml -- show --odd": "[show --odd] false a.yaml 2",
	} {
		if said, errOut, err := typed(strings.Fields(line)...); err != nil || !strings.HasPrefix(said, want) {
			t.Errorf("%s: %q, not %q; %v %s", line, said, want, err, errOut)
		}
	}
}

func TestMistakesShowWhatWouldBeRight(t *testing.T) {
	for line, want := range map[string]string{
		"":               "usage: toolbox COMMAND [--config FILE] [--json]",
		"--help":         "  saw WOOD [OTHER]  cut",
		"hammer":         "  nail WOOD...      join",
		"saw":            "usage: toolbox saw WOOD [OTHER] [FLAGS]\ncut",
		"saw a b c":      "usage: toolbox saw WOOD [OTHER] [FLAGS]\ncut",
		"saw show x":     "usage: toolbox saw show [FLAGS]",
		"nail":           "usage: toolbox nail WOOD... [FLAGS]",
		"saw --size big": "-size",
		"saw a --help":   "teeth",
		"help":           "  saw WOOD [OTHER]  cut",
		"help saw":       "teeth",
		"help hammer":    "  nail WOOD...      join",
	} {
		said, errOut, err := typed(strings.Fields(line)...)
		if err == nil || said != "" || !strings.Contains(errOut, want) {
			t.Errorf("%s: %v %q\n%s", line, err, said, errOut)
		}
		if help := strings.Contains(line, "help"); errors.Is(err, flag.ErrHelp) != help {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestAProgramWithoutAConfigurationHasNoSuchFlag(t *testing.T) {
	p := toolbox()
	p.Config = ""
	var errOut bytes.Buffer
	if _, _, err := p.Parse([]string{"saw", "oak", "--config", "x"}, &errOut); err == nil {
		t.Error("--config was taken")
	}
	errOut.Reset()
	if _, _, err := p.Parse(nil, &errOut); err == nil || strings.Contains(errOut.String(), "--config") {
		t.Errorf("%v\n%s", err, &errOut)
	}
}

func TestFailuresAreSaidInJSONOnceOnly(t *testing.T) {
	broken := fault.AskOperator(errors.New("the blade is blunt"), "sharpen it")
	fails := func(first string) Command {
		return Command{Run: func(_ context.Context, _ *Options, out io.Writer) error {
			if first != "" {
				fmt.Fprint(out, first)
			}
			return broken
		}}
	}
	all := InJSON([]Command{fails(""), fails("something"), {Run: func(context.Context, *Options, io.Writer) error { return nil }}},
		func(t Trouble) any { return map[string]Trouble{"trouble": t} })
	run := func(c Command, o Options) string {
		var out bytes.Buffer
		if err := c.Run(context.Background(), &o, &out); err != nil && !errors.Is(err, broken) {
			t.Errorf("another error: %v", err)
		}
		return out.String()
	}
	var got struct{ Trouble Trouble }
	if err := json.Unmarshal([]byte(run(all[0], Options{JSON: true})), &got); err != nil || got.Trouble != (Trouble{"the blade is blunt", "operator", "sharpen it"}) {
		t.Errorf("%v %+v", err, got)
	}
	others := []string{run(all[0], Options{}), run(all[1], Options{JSON: true}), run(all[2], Options{JSON: true})}
	if !slices.Equal(others, []string{"", "something", ""}) {
		t.Errorf("%q", others)
	}
	var said bytes.Buffer
	if Explain(&said, "saw", broken); said.String() != "saw: the blade is blunt\n  do: sharpen it\n" {
		t.Errorf("%q", &said)
	}
}

func TestColumnsAreAsWideAsTheirWidestCell(t *testing.T) {
	var table Table
	table.Row("größe", "b")
	table.Row("c")
	table.Row("", "d", "e")
	var out bytes.Buffer
	if err := table.Print(&out); err != nil || out.String() != "größe  b\nc\n       d  e\n" {
		t.Errorf("%v\n%s", err, &out)
	}
}

// FuzzCommandLine: whatever is typed, a command that is run has as many arguments as it takes.
func FuzzCommandLine(f *testing.F) {
	for _, line := range []string{"saw oak", "saw\n--size\n3\noak", "nail\n--\n--json", "saw\nshow\n--help", "--", "\n"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		c, o, err := toolbox().Parse(strings.Split(line, "\n"), io.Discard)
		if least, most := c.arity(); err == nil && (c.Run == nil || len(o.Args) < least || len(o.Args) > most) {
			t.Errorf("%q: %+v", line, o)
		}
	})
}
