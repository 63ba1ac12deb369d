package main

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/commands"
	"github.com/devid-agent/devid-agent/keys"
)

// keyCommands are for the person at the device. They work beside a running agent.
func keyCommands() []commands.Command {
	algorithm := ""
	withAlgorithm := func(f *flag.FlagSet) {
		f.StringVar(&algorithm, "algorithm", "", fmt.Sprintf("of the new key: one of %v (default keys.algorithm)", keys.Algorithms))
	}
	bench := new(benchmark)
	return []commands.Command{
		{Name: "key list", About: "the keys in the hardware, and what each is for", Run: keyList},
		{Name: "key show", Takes: "NAME", About: "what the hardware says of a key, and its public half", Run: keyShow},
		{Name: "key create", Takes: "NAME", About: "make a key of your own", Flags: withAlgorithm,
			Run: func(ctx context.Context, o *commands.Options, out io.Writer) error {
				return keyCreate(ctx, o, algorithm, out)
			}},
		{Name: "key delete", Takes: "NAME", About: "destroy a key that no identity needs", Run: keyDelete},
		{Name: "key test", About: "create, sign, verify, try to export, delete: does the hardware work, and how fast", Flags: withAlgorithm,
			Run: func(ctx context.Context, o *commands.Options, out io.Writer) error {
				return keyTest(ctx, o, algorithm, out)
			}},
		{Name: "key bench", Takes: "[NAME]", About: "sign for some seconds, and say how long a signature takes", Flags: bench.flags, Run: bench.command},
	}
}

// keyLine is a key in key list.
type keyLine struct {
	Name    string `json:"name"`
	Use     string `json:"use"`               // what the device does with it
	Trouble string `json:"trouble,omitempty"` // why it cannot be used
}

func keyList(ctx context.Context, o *commands.Options, out io.Writer) error {
	w, err := lookWorkbench(o)
	if err != nil {
		return err
	}
	defer w.close()
	names, err := w.store.Names(ctx)
	if err != nil {
		return err
	}
	lines := []keyLine{}
	for _, name := range names {
		lines = append(lines, w.line(ctx, name))
	}
	if o.JSON {
		return commands.PrintJSON(out, lines)
	}
	var t commands.Table
	for _, l := range lines {
		t.Row(l.Name, l.Use, l.Trouble)
	}
	return t.Print(out)
}

// line opens the key, because only then it is certain that it serves nobody.
func (w *workbench) line(ctx context.Context, name string) keyLine {
	key, err := w.store.Open(ctx, name)
	if err != nil {
		return keyLine{Name: name, Use: w.use(name), Trouble: err.Error()}
	}
	use, err := w.useOf(name, key.Public())
	if err != nil {
		return keyLine{Name: name, Use: w.use(name), Trouble: err.Error()}
	}
	return keyLine{Name: name, Use: use}
}

// keyView is what key show and key create print.
type keyView struct {
	Name string `json:"name"`
	Use  string `json:"use"`
	keys.Facts
	PublicKey string `json:"public_key"` // PEM
	SHA256    string `json:"sha256"`     // of the SubjectPublicKeyInfo, as DPS, CAs and attest verify show it
}

func keyShow(ctx context.Context, o *commands.Options, out io.Writer) error {
	w, err := lookWorkbench(o)
	if err != nil {
		return err
	}
	defer w.close()
	return w.show(ctx, o, out)
}

// show prints the key that is the first argument.
func (w *workbench) show(ctx context.Context, o *commands.Options, out io.Writer) error {
	v, err := w.view(ctx, o.Args[0])
	if err != nil {
		return err
	}
	if o.JSON {
		return commands.PrintJSON(out, v)
	}
	var t commands.Table
	row := func(name string, value any) { t.Row(name, fmt.Sprint(value)) }
	row("name", v.Name)
	row("use", v.Use)
	row("place", v.Place)
	row("algorithm", v.Algorithm)
	if v.Padding != "" {
		row("padding", v.Padding)
	}
	row("attributes", v.Attributes)
	row("export", v.Export)
	row("sha256", v.SHA256)
	if err := t.Print(out); err != nil {
		return err
	}
	_, err = io.WriteString(out, v.PublicKey)
	return err
}

func (w *workbench) view(ctx context.Context, name string) (keyView, error) {
	key, err := w.store.Open(ctx, name)
	if errors.Is(err, keys.ErrNotFound) {
		return keyView{}, fault.AskOperator(err, "devid-agent key list says which keys there are")
	}
	if err != nil {
		return keyView{}, err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return keyView{}, fmt.Errorf("show key %s: %w", name, err)
	}
	use, err := w.useOf(name, key.Public())
	if err != nil {
		return keyView{}, fmt.Errorf("show key %s: %w", name, err)
	}
	sum := sha256.Sum256(der)
	v := keyView{Name: name, Use: use, SHA256: hex.EncodeToString(sum[:]),
		PublicKey: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))}
	hardware, ok := w.store.(keys.Inspector)
	if !ok {
		return v, nil
	}
	v.Facts, err = hardware.Inspect(ctx, name)
	return v, err
}

func keyCreate(ctx context.Context, o *commands.Options, algorithm string, out io.Writer) error {
	w, err := openWorkbench(o, algorithm)
	if err != nil {
		return err
	}
	defer w.close()
	if name := o.Args[0]; strings.HasPrefix(name, identity.KeyPrefix) {
		return fault.AskOperator(fmt.Errorf("create key %s: such names are the agent's own, which destroys those that no identity needs", name), "choose another name")
	}
	if _, err := w.store.Create(ctx, o.Args[0]); err != nil {
		return err
	}
	return w.show(ctx, o, out)
}

func keyDelete(ctx context.Context, o *commands.Options, out io.Writer) error {
	w, err := openWorkbench(o, "")
	if err != nil {
		return err
	}
	defer w.close()
	name := o.Args[0]
	if err := w.mayDelete(ctx, name); err != nil {
		return fmt.Errorf("delete key %s: %w", name, err)
	}
	if err := w.store.Delete(ctx, name); err != nil {
		return err
	}
	if o.JSON {
		return commands.PrintJSON(out, map[string]string{"deleted": name})
	}
	_, err = fmt.Fprintf(out, "%s is destroyed\n", name)
	return err
}

// mayDelete says why the key must stay. What cannot be undone is not done on a guess.
func (w *workbench) mayDelete(ctx context.Context, name string) error {
	const remedy = "a renewal makes a new key and destroys the old one: devid-agent renew"
	if w.unknown != nil {
		return fmt.Errorf("nobody knows whether an identity needs it: %w", w.unknown)
	}
	use := w.use(name)
	key, err := w.store.Open(ctx, name)
	switch {
	case errors.Is(err, keys.ErrNotFound):
		return fault.AskOperator(keys.ErrNotFound, "devid-agent key list says which keys there are")
	case errors.Is(err, keys.ErrGone): // only its name is left to judge by
	case err != nil:
		return fmt.Errorf("nobody knows whether it is needed: %w", err)
	default:
		if use, err = w.useOf(name, key.Public()); err != nil {
			return fmt.Errorf("nobody knows whether it is needed: %w", err)
		}
	}
	switch {
	case use != useNone && use != useAgent:
		return fault.AskOperator(fmt.Errorf("it is needed: %s", use), remedy)
	case use == useAgent && w.lock == nil:
		return fault.AskOperator(errors.New("the running agent may be about to use it"),
			"stop the agent first; it destroys by itself what no identity needs")
	}
	return nil
}
