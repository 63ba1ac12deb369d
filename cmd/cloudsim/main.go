// Command devid-cloudsim runs the simulated cloud: a Device Provisioning Service and an IoT Hub on free ports of
// 127.0.0.1, for the demo, for scripts, and for people without an Azure account.
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
	dir     string
	record  string
	csr     string
	weather string
	devices list
	set     list
	life    time.Duration
	factory time.Duration
	p384    bool
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
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
	f.StringVar(&o.dir, "dir", ".", "write roots.pem and bootstrap credentials into `DIR`")
	f.Var(&o.devices, "device", "make a bootstrap certificate and a software key for the device `ID`; repeatable")
	f.StringVar(&o.csr, "csr", "", "make a bootstrap certificate for the PKCS#10 request in `FILE`, whose key stays where it is")
	f.DurationVar(&o.life, "life", 30*24*time.Hour, "lifetime of the certificates that are issued")
	f.DurationVar(&o.factory, "bootstrap-life", 365*24*time.Hour, "lifetime of bootstrap certificates")
	f.BoolVar(&o.p384, "p384-only", false, "certify P-384 keys only, as Azure documents it")
	f.StringVar(&o.record, "record", "", "append every message received to `FILE`, one JSON object a line")
	f.StringVar(&o.weather, "temper", "", "take the temper from the JSON object in `FILE`, and again on SIGHUP")
	f.Var(&o.set, "set", "set one `NAME=VALUE` of the temper, such as LostAck=7 or Latency=50ms; repeatable")
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil, err
	} else if err != nil {
		return nil, errUsage
	}
	if f.NArg() > 0 {
		fmt.Fprintf(diagnostics, "devid-cloudsim: what is %q? Everything is a flag.\n", f.Arg(0))
		return nil, errUsage
	}
	return o, nil
}

func run(ctx context.Context, args []string, out, diagnostics io.Writer) error {
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
		p.Life, p.P384Only, p.Observe = o.life, o.p384, r.write
	})
	if err != nil {
		return errors.Join(err, r.close())
	}
	err = o.serve(ctx, cloud, out, diagnostics)
	return errors.Join(err, cloud.Close(), r.close())
}

func (o *options) serve(ctx context.Context, cloud *sim.Cloud, out, diagnostics io.Writer) error {
	if err := o.place(); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(o.dir, "roots.pem"), cloud.RootsPEM(), 0o644); err != nil {
		return err
	}
	if err := o.prepareEST(cloud, diagnostics); err != nil {
		return err
	}
	if err := o.prepare(cloud, out); err != nil {
		return err
	}
	o.watch(ctx, cloud, diagnostics)
	return nil
}

// place makes the directory; its name is absolute from then on, since the agent may run elsewhere.
func (o *options) place() (err error) {
	if o.dir, err = filepath.Abs(o.dir); err != nil {
		return err
	}
	return os.MkdirAll(o.dir, 0o700)
}

// watch returns when ctx ends. Until then the weather may be changed by SIGHUP.
func (o *options) watch(ctx context.Context, cloud *sim.Cloud, diagnostics io.Writer) {
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGHUP)
	defer signal.Stop(again)
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
		}
	}
}
