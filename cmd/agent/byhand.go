package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/commands"
	"github.com/devid-agent/devid-agent/provisioning"
	"github.com/devid-agent/devid-agent/provisioning/hand"
)

// handCommands carry a certificate request out of the device, and the chain for it back in.
func handCommands() []commands.Command {
	var file string
	return []commands.Command{
		{Name: "csr", About: "print the certificate request that waits for a CA, and make one if none does",
			Flags: func(f *flag.FlagSet) { f.StringVar(&file, "out", "", "write it to `FILE` instead") },
			Run: func(ctx context.Context, o *commands.Options, out io.Writer) error {
				return csrCommand(ctx, o, file, out)
			}},
		{Name: "import", Takes: "FILE", About: "take the chain (PEM; - is standard input) for the request that waits", Run: importCommand},
	}
}

func csrCommand(ctx context.Context, o *commands.Options, file string, out io.Writer) error {
	c, err := loadConfig(o.Config)
	if err != nil {
		return err
	}
	if !c.asks(issuerHand) {
		return fault.AskOperator(errors.New("certificates of this device do not go by hand"), "set provisioning.issuer: hand, or renewal.issuer: hand")
	}
	request, err := waitingRequest(ctx, o, c)
	switch {
	case err != nil:
		return err
	case file != "":
		return os.WriteFile(file, request, 0o644)
	case o.JSON:
		return commands.PrintJSON(out, map[string]string{"csr": string(request)})
	}
	_, err = out.Write(request)
	return err
}

// waitingRequest is the request on the desk. One that has been answered is followed by one for the next certificate.
func waitingRequest(ctx context.Context, o *commands.Options, c *Config) ([]byte, error) {
	current, _, err := identity.Look(identityDir(c))
	if err != nil {
		return nil, err
	}
	if request, err := hand.Waiting(handDir(c), current); !errors.Is(err, fs.ErrNotExist) {
		return request, err
	}
	if pid := running(c.Device.State); pid != 0 {
		return askRunning(ctx, c, pid, current)
	}
	if err := makeRequest(ctx, o); err != nil {
		return nil, err
	}
	return hand.Waiting(handDir(c), current)
}

// makeRequest lets the device itself ask; nobody is there to answer yet.
func makeRequest(ctx context.Context, o *commands.Options) error {
	_, err := alone(ctx, o, func(ctx context.Context, d *device) error { return d.renewer.Advance(ctx) })
	if errors.Is(err, provisioning.ErrPending) {
		return nil
	}
	return err
}

// askRunning has the agent that owns the state directory make the request.
func askRunning(ctx context.Context, c *Config, pid int, current *identity.Identity) ([]byte, error) {
	if err := wake(pid); err != nil {
		return nil, err
	}
	waiting, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for sleep(waiting, 100*time.Millisecond) {
		if request, err := hand.Waiting(handDir(c), current); !errors.Is(err, fs.ErrNotExist) {
			return request, err
		}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, fault.AskOperator(errors.New("the agent has made no request within a minute"), "see what keeps it: devid-agent status")
}

func importCommand(_ context.Context, o *commands.Options, out io.Writer) error {
	c, err := loadConfig(o.Config)
	if err != nil {
		return err
	}
	text, err := readChain(o.Args[0])
	if err != nil {
		return err
	}
	if err := ownState(c.Device.State); err != nil {
		return err
	}
	chain, err := hand.Bring(handDir(c), text, time.Now())
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	next := "it comes into force when the agent starts"
	if pid := running(c.Device.State); pid != 0 && wake(pid) == nil {
		next = "the agent takes it now; see devid-agent status"
	}
	if o.JSON {
		return commands.PrintJSON(out, map[string]any{"serial": chain[0].SerialNumber.Text(16), "not_after": chain[0].NotAfter, "chain": len(chain)})
	}
	_, err = fmt.Fprintf(out, "certificate %s, %d in the chain: %s\n", describeDates(chain[0]), len(chain), next)
	return err
}

func readChain(path string) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(io.LimitReader(os.Stdin, maxPEM))
	}
	text, _, err := readRegular(path)
	if err != nil {
		what, remedy := whyUnreadable(path, err)
		return nil, fault.AskOperator(errors.New(what), remedy)
	}
	return text, nil
}
