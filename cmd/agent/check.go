package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/commands"
	"github.com/devid-agent/devid-agent/keys"
)

// finding is one line of check.
type finding struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"` // what was seen, or what is wrong
	Hint   string `json:"hint,omitempty"`
}

// findings is everything that check saw.
type findings struct {
	OK     bool        `json:"ok"`
	Checks []finding   `json:"checks"`
	Key    *keys.Facts `json:"key,omitempty"` // of the identity in force, as its hardware says
}

func (f *findings) add(name, detail string, err error) bool {
	line := finding{Name: name, OK: err == nil, Detail: detail}
	if err != nil {
		line.Detail, line.Hint = err.Error(), fault.Hint(err)
	}
	f.Checks = append(f.Checks, line)
	f.OK = f.OK && line.OK
	return line.OK
}

// checkTimeout bounds what one question to the outside may take.
const checkTimeout = 15 * time.Second

// checkCommand changes nothing, and may run beside the agent.
func checkCommand(ctx context.Context, o *commands.Options, out io.Writer) error {
	c, err := loadConfig(o.Config)
	if err != nil {
		return err
	}
	f := c.look(ctx, o.Config)
	if o.JSON {
		err = commands.PrintJSON(out, f)
	} else {
		f.print(out)
	}
	if !f.OK {
		return errors.Join(err, errors.New("check: not all is well"))
	}
	return err
}

// look asks everything that the configuration from file stands on.
func (c *Config) look(ctx context.Context, file string) *findings {
	f := &findings{OK: true}
	f.add("configuration", file, nil)
	f.state(c)
	current := f.identity(c)
	f.hardware(ctx, c, current)
	f.credentials(c)
	f.cloud(ctx, c, current)
	return f
}

func (f *findings) state(c *Config) {
	path := c.Device.State
	var s syscall.Statfs_t
	err := syscall.Statfs(path, &s)
	free := int64(s.Bavail) * int64(s.Bsize)
	switch {
	case errors.Is(err, os.ErrNotExist):
		err = fault.AskOperator(fmt.Errorf("%s does not exist", path), "start the agent once, or make it: install -d -m 0700 "+path)
	case err == nil && volatile(path) != "":
		err = lasting(path)
	case err == nil && free < 1<<20:
		err = fault.AskOperator(fmt.Errorf("%s: only %d bytes are free", path, free), "free some space there")
	}
	f.add("state", fmt.Sprintf("%s, %d MB free", path, free>>20), err)
}

func (f *findings) identity(c *Config) *identity.Identity {
	current, pending, err := identity.Look(identityDir(c))
	switch {
	case err != nil:
		f.add("identity", "", err)
	case current == nil && pending == nil:
		f.add("identity", "", fault.AskOperator(errors.New("not enrolled yet"), "devid-agent run enrolls by itself; devid-agent enroll does it now"))
	case current == nil:
		f.add("identity", fmt.Sprintf("generation %d waits for its proof", pending.Generation), nil)
	default:
		f.add("identity", fmt.Sprintf("%s at %s, generation %d", current.Name(), current.Hub, current.Generation), nil)
		if current.Certified() {
			f.add("certificate", describeDates(current.Leaf()), inDate(current.Leaf()))
		}
	}
	return current
}

func describeDates(c *x509.Certificate) string {
	return fmt.Sprintf("%s of %s, valid until %s", c.SerialNumber.Text(16), c.Subject.CommonName, c.NotAfter.Local().Format(time.DateTime))
}

func inDate(c *x509.Certificate) error {
	now := time.Now()
	if now.After(c.NotAfter) {
		return fault.AskOperator(fmt.Errorf("%s has expired at %s", c.Subject, c.NotAfter.Local()), "see to a way in: bootstrap.certificate must be in date")
	}
	if now.Before(c.NotBefore) {
		return fault.AskOperator(fmt.Errorf("%s is not valid before %s, and the clock says %s", c.Subject, c.NotBefore.Local(), now.Local()), "set the clock")
	}
	return nil
}

// hardware asks where the keys live, once for all.
func (f *findings) hardware(ctx context.Context, c *Config, current *identity.Identity) {
	store, err := lookKeys(c)
	if err != nil {
		f.add("key store", "", err)
		return
	}
	if helper, ok := store.(io.Closer); ok {
		defer helper.Close()
	}
	f.key(ctx, c, store, current)
	f.bootstrap(ctx, c, store)
}

func (f *findings) key(ctx context.Context, c *Config, store keys.Store, current *identity.Identity) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if hardware, ok := store.(interface{ Ping(context.Context) error }); ok {
		if err := hardware.Ping(ctx); err != nil {
			f.add("key store", "", err)
			return
		}
	}
	names, err := store.Names(ctx)
	if !f.add("key store", fmt.Sprintf("%s, %d keys", placeOfKeys(c), len(names)), err) || current == nil || !current.Certified() {
		return
	}
	inspector, ok := store.(keys.Inspector)
	if !ok {
		return
	}
	facts, err := inspector.Inspect(ctx, current.Key)
	if errors.Is(err, keys.ErrNotFound) && ownsBootstrapKey(current) {
		f.add("key", current.Key+": the bootstrap key is the operational one", nil)
		return
	}
	if err == nil && !facts.Refused {
		err = fault.AskOperator(fmt.Errorf("%s can be exported: %s", current.Key, facts.Export), "renew: the next key is made so that it cannot leave")
	}
	if f.add("key", fmt.Sprintf("%s: %s in %s", current.Key, facts.Algorithm, facts.Place), err) {
		f.add("key export", facts.Export, nil)
		f.Key = &facts
	}
}

// placeOfKeys is how the configuration names the hardware.
func placeOfKeys(c *Config) string {
	if c.Keys.PKCS11 != "" {
		return c.Keys.PKCS11
	}
	return c.Keys.TPM
}

func (f *findings) print(out io.Writer) {
	for _, line := range f.Checks {
		mark := "ok  "
		if !line.OK {
			mark = "FAIL"
		}
		fmt.Fprintf(out, "%s  %-14s %s\n", mark, line.Name, line.Detail)
		if line.Hint != "" {
			fmt.Fprintf(out, "      %-14s do: %s\n", "", line.Hint)
		}
	}
	if f.Key != nil {
		fmt.Fprintf(out, "      %-14s %v\n", "attributes", f.Key.Attributes)
	}
}
