// Command devid-cloudsim runs the simulated cloud: DPS, IoT Hub, EZCA, Entra's token endpoint and an EST server on ports of
// 127.0.0.1, for the demo, for scripts, and for people without an Azure account. "devid-cloudsim ctl" rules a running one.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

type options struct {
	dir         string
	record      string
	csr         string
	weather     string
	print       string
	endorsement string
	control     string
	devices     list
	set         list
	life        time.Duration
	factory     time.Duration
	port        int
	p384        bool
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "devid-cloudsim:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage")

func parse(args []string, diagnostics io.Writer) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("devid-cloudsim", flag.ContinueOnError)
	f.SetOutput(diagnostics)
	f.StringVar(&o.dir, "dir", ".", "write roots.pem, cloud.json and what devices need into `DIR`")
	f.Var(&o.devices, "device", "make what the device `ID` needs; repeatable")
	f.StringVar(&o.print, "print", wayX509, "print the agent.yaml of devices for the `WAY` in: "+strings.Join(wayNames(), ", "))
	f.StringVar(&o.csr, "csr", "", "make a bootstrap certificate for the PKCS#10 request in `FILE`, whose key stays where it is")
	f.StringVar(&o.endorsement, "endorsement", "", "enroll the TPM whose endorsement key (TPM2B_PUBLIC) is in `FILE`: for --print tpm")
	f.IntVar(&o.port, "base-port", 0, "listen on the port `N` and those behind it; 0 is any free ones")
	f.StringVar(&o.control, "control", "", "serve the control API on `ADDRESS`: a path of a socket, HOST:PORT of loopback, or off (default DIR/control.sock)")
	f.DurationVar(&o.life, "life", 30*24*time.Hour, "lifetime of the certificates that are issued")
	f.DurationVar(&o.factory, "bootstrap-life", 365*24*time.Hour, "lifetime of bootstrap certificates")
	f.BoolVar(&o.p384, "p384-only", false, "certify P-384 keys only, as Azure documents it")
	f.StringVar(&o.record, "record", "", "append every message received to `FILE`, one JSON object a line")
	f.StringVar(&o.weather, "temper", "", "take the temper from the JSON object in `FILE`, and again on SIGHUP")
	f.Var(&o.set, "set", "set one `NAME=VALUE` of the temper, such as LostAck=7 or EZCA.Status=503; repeatable")
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil, err
	} else if err != nil {
		return nil, errUsage
	}
	if f.NArg() > 0 {
		fmt.Fprintf(diagnostics, "devid-cloudsim: what is %q? Everything is a flag, but for ctl.\n", f.Arg(0))
		return nil, errUsage
	}
	if ways[o.print] == nil {
		fmt.Fprintf(diagnostics, "devid-cloudsim: --print %s: write one of %s\n", o.print, strings.Join(wayNames(), ", "))
		return nil, errUsage
	}
	if o.print != wayX509 && len(o.devices) == 0 {
		o.devices = list{"gateway-1"}
	}
	return o, nil
}

func run(ctx context.Context, args []string, in io.Reader, out, diagnostics io.Writer) error {
	if len(args) > 0 && args[0] == "ctl" {
		return ctl(ctx, args[1:], in, out, diagnostics)
	}
	o, err := parse(args, diagnostics)
	if err != nil {
		return err
	}
	t, err := o.temper()
	if err != nil {
		return err
	}
	r, err := openRecorder(o.record)
	if err != nil {
		return err
	}
	cloud, err := sim.Start(ctx, t, func(p *sim.Policy) {
		p.Life, p.P384Only, p.Port, p.Observe = o.life, o.p384, o.port, r.write
	})
	if err != nil {
		return errors.Join(err, r.close())
	}
	err = o.serve(ctx, cloud, out, diagnostics)
	return errors.Join(err, cloud.Close(), r.close())
}

func (o *options) serve(ctx context.Context, cloud *sim.Cloud, out, diagnostics io.Writer) error {
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGHUP)
	defer signal.Stop(again)
	if err := o.place(); err != nil {
		return err
	}
	if err := o.openControl(ctx, cloud, diagnostics); err != nil {
		return err
	}
	if err := o.describe(cloud, diagnostics); err != nil {
		return err
	}
	if err := o.prepare(cloud, out); err != nil {
		return err
	}
	o.watch(ctx, cloud, again, diagnostics)
	return nil
}

// place makes the directory; its name is absolute from then on, since the agent may run elsewhere.
func (o *options) place() (err error) {
	if o.dir, err = filepath.Abs(o.dir); err != nil {
		return err
	}
	return os.MkdirAll(o.dir, 0o700)
}

func (o *options) file(name string) string { return filepath.Join(o.dir, name) }

// watch returns when ctx ends. Until then the weather may be changed by SIGHUP.
func (o *options) watch(ctx context.Context, cloud *sim.Cloud, again <-chan os.Signal, diagnostics io.Writer) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-again:
			t, err := o.temper()
			if err != nil {
				fmt.Fprintln(diagnostics, "devid-cloudsim: the temper stays as it was:", err)
				continue
			}
			cloud.SetTemper(t)
			fmt.Fprintln(diagnostics, "devid-cloudsim: the temper was read again")
		}
	}
}
