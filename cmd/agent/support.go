package main

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/commands"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/telemetry/iothub"
)

// bundle is what whoever has to help wants to see. There is no secret in it: those are in files that it does not read,
// and what a person has put in a wrong place is taken out.
type bundle struct {
	Made    time.Time         `json:"made"`
	Version string            `json:"version"`
	Build   map[string]string `json:"build"`
	Machine map[string]string `json:"machine"`

	Configuration string             `json:"configuration"`
	Mistakes      []problem          `json:"mistakes,omitempty"` // in it; the rest needs one without
	Running       *status            `json:"running,omitempty"`  // what the agent says
	NotRunning    *commands.Trouble  `json:"not_running,omitempty"`
	Check         *findings          `json:"check,omitempty"`
	Identities    []*identityStatus  `json:"identities,omitempty"` // in force, and pending
	Twin          json.RawMessage    `json:"twin,omitempty"`       // settings that are kept from it
	Files         []fileSeen         `json:"files,omitempty"`      // of the state directory
	Mounts        []string           `json:"mounts,omitempty"`
	Troubles      []commands.Trouble `json:"troubles,omitempty"` // of this command
}

// fileSeen is a file without its content.
type fileSeen struct {
	Name string    `json:"name"`
	Mode string    `json:"mode"`
	Size int64     `json:"size"`
	Time time.Time `json:"time"`
}

// maxFiles is how many files of the state directory are named.
const maxFiles = 500

func supportCommandLine() commands.Command {
	var upload bool
	var file string
	return commands.Command{Name: "support", About: "everything that whoever helps wants to see, without secrets, in one JSON document",
		Flags: func(f *flag.FlagSet) {
			f.BoolVar(&upload, "upload", false, "send it to the hub's storage account")
			f.StringVar(&file, "out", "", "write it to `FILE` instead of standard output")
		},
		Run: func(ctx context.Context, o *commands.Options, out io.Writer) error {
			return supportCommand(ctx, o, out, file, upload)
		}}
}

func supportCommand(ctx context.Context, o *commands.Options, out io.Writer, file string, upload bool) error {
	c, b := gather(ctx, o.Config)
	text, err := b.text()
	if err != nil {
		return err
	}
	if file != "" {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return fmt.Errorf("write the bundle: %w", err)
		}
	}
	switch {
	case upload && c == nil:
		return fault.AskOperator(errors.New("support --upload: the configuration has mistakes, so nobody knows which hub"), "see devid-agent config check; send the file of --out by other means")
	case upload:
		blob, err := c.upload(ctx, text)
		if err != nil {
			return err
		}
		if o.JSON {
			return commands.PrintJSON(out, map[string]string{"blob": blob})
		}
		_, err = fmt.Fprintln(out, blob)
		return err
	case file != "":
		return nil
	}
	_, err = out.Write(text)
	return err
}

// gather looks at everything. What is wrong somewhere is in the bundle, and no reason to be silent about the rest. The
// configuration is nil where it has mistakes.
func gather(ctx context.Context, file string) (*Config, *bundle) {
	b := &bundle{Made: time.Now().UTC(), Version: version(), Build: build(), Machine: machine()}
	text, p := readSource(file)
	if p != nil {
		b.Mistakes = []problem{*p}
		return nil, b
	}
	b.Configuration = harmless(string(text))
	c, err := parseConfig(file, text, nil)
	if mistakes, ok := errors.AsType[*configError](err); ok {
		b.Mistakes = mistakes.Problems
		return nil, b
	}
	if b.Running, err = readStatus(c); err != nil {
		b.NotRunning = new(commands.Trouble)
		*b.NotRunning = commands.Describe(err)
	}
	b.Check = c.look(ctx, file)
	current, pending, err := identity.Look(identityDir(c))
	b.note(err)
	for _, id := range []*identity.Identity{current, pending} {
		if id != nil {
			b.Identities = append(b.Identities, viewIdentity(id))
		}
	}
	b.state(c.Device.State)
	return c, b
}

func (b *bundle) note(err error) {
	if err != nil {
		b.Troubles = append(b.Troubles, commands.Describe(err))
	}
}

// state lists the state directory, and reads what is kept of the twin.
func (b *bundle) state(dir string) {
	b.note(filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || len(b.Files) >= maxFiles {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the agent runs
		}
		if err == nil {
			b.Files = append(b.Files, fileSeen{strings.TrimPrefix(path, dir), info.Mode().String(), info.Size(), info.ModTime().UTC()})
		}
		return err
	}))
	if text, err := os.ReadFile(filepath.Join(dir, "remote", "desired.json")); err == nil && json.Valid(text) {
		b.Twin = text
	}
	for _, line := range strings.Split(sight("/proc/self/mountinfo"), "\n") {
		if f := strings.Fields(line); len(f) > 4 && (f[4] == "/" || dir == f[4] || strings.HasPrefix(dir, f[4]+"/")) {
			b.Mounts = append(b.Mounts, line)
		}
	}
}

func build() map[string]string {
	all := map[string]string{"go": runtime.Version(), "arch": runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			all[s.Key] = s.Value
		}
	}
	return all
}

// machine is what the kernel says of itself, as far as it says it.
func machine() map[string]string {
	all := map[string]string{}
	for name, file := range map[string]string{
		"kernel": "/proc/version", "uptime": "/proc/uptime", "load": "/proc/loadavg", "memory": "/proc/meminfo", "system": "/etc/os-release",
		"model": "/proc/device-tree/model", "tpm": "/sys/class/tpm/tpm0/tpm_version_major", "tpm_maker": "/sys/class/tpm/tpm0/device/description",
		"clock": "/sys/devices/system/clocksource/clocksource0/current_clocksource", "init": "/proc/1/comm",
	} {
		if text := strings.Trim(sight(file), "\x00\n "); text != "" {
			all[name] = text
		}
	}
	return all
}

// sight is what a file of the kernel says; "" where it says nothing.
func sight(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return strings.ToValidUTF8(string(b), "?")
}

// text is the document. Its strings are looked through once more: errors of servers are among them.
func (b *bundle) text() ([]byte, error) {
	var raw bytes.Buffer
	if err := commands.PrintJSON(&raw, b); err != nil {
		return nil, err
	}
	var all any
	d := json.NewDecoder(&raw)
	d.UseNumber()
	if err := d.Decode(&all); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err := commands.PrintJSON(&out, cleaned(all))
	return out.Bytes(), err
}

// upload sends text as the identity in force, beside an agent that may be running.
func (c *Config) upload(ctx context.Context, text []byte) (blob string, err error) {
	current, _, err := identity.Look(identityDir(c))
	if err != nil {
		return "", err
	}
	if current == nil {
		return "", fault.AskOperator(errors.New("support --upload: the device is not enrolled yet"), "write the bundle to a file by --out, and send it by other means")
	}
	store, err := lookKeys(c)
	if err != nil {
		return "", err
	}
	if helper, ok := store.(io.Closer); ok {
		defer helper.Close()
	}
	if err := c.openKey(ctx, current, store); err != nil {
		return "", err
	}
	roots, err := azureRoots(c, c.Hub.Roots)
	if err != nil {
		return "", err
	}
	u := iothub.Uploader{Roots: roots, UserAgent: userAgent(), Connect: c.Remote.Upload.Connect, Storage: c.Remote.Upload.Storage, Dial: proxied(c, nil)}
	if c.tokens() {
		u.Token = tokens(c.hubMAC(store))
	}
	name := "support-" + time.Now().UTC().Format("20060102T150405Z") + ".json"
	return u.Upload(ctx, current, iothub.File{Name: name, Type: "application/json", Size: int64(len(text)), Body: bytes.NewReader(text)})
}

// openKey gives the identity its key: one of the store, or the bootstrap key.
func (c *Config) openKey(ctx context.Context, id *identity.Identity, store keys.Store) error {
	if ownsBootstrapKey(id) {
		boot, err := bootstrapCredential(ctx, c, store)
		if err != nil {
			return err
		}
		store = keys.With(store, id.Key, boot.PrivateKey.(crypto.Signer))
	}
	return id.OpenKey(ctx, store)
}
