package commands

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/devid-agent/devid-agent/fault"
)

// Trouble is an error in JSON.
type Trouble struct {
	Error string `json:"error"`
	Kind  string `json:"kind"` // who can do something about it: see package fault
	Hint  string `json:"hint,omitempty"`
}

// Describe is err, which is not nil, as a Trouble.
func Describe(err error) Trouble {
	return Trouble{Error: err.Error(), Kind: fault.Of(err).String(), Hint: fault.Hint(err)}
}

// Explain prints err and, where it is known, the remedy.
func Explain(w io.Writer, program string, err error) {
	fmt.Fprintf(w, "%s: %v\n", program, err)
	if hint := fault.Hint(err); hint != "" {
		fmt.Fprintln(w, "  do:", hint)
	}
}

// PrintJSON prints v for programs, and for people who look over their shoulder.
func PrintJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// InJSON has the commands say in JSON, too, why they failed, where they have said nothing else. It changes all in place;
// around is what the trouble stands in.
func InJSON(all []Command, around func(Trouble) any) []Command {
	for i, c := range all {
		all[i].Run = func(ctx context.Context, o *Options, out io.Writer) error {
			told := &listener{Writer: out}
			err := c.Run(ctx, o, told)
			if err == nil || !o.JSON || told.heard {
				return err
			}
			return errors.Join(err, PrintJSON(out, around(Describe(err))))
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
