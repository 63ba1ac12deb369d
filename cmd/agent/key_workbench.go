package main

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/commands"
	"github.com/devid-agent/devid-agent/keys"
)

// workbench is the key store in the hands of a person, beside an agent that may be running.
type workbench struct {
	config  *Config
	store   keys.Store
	lock    *os.File // of the state directory; nil while an agent has it, and for looking
	current *identity.Identity
	pending *identity.Identity
	unknown error // why nobody knows the identities
}

// What a key may be for.
const (
	useCurrent   = "the identity in force"
	usePending   = "the identity that waits for its proof"
	useBootstrap = "the bootstrap credential"
	useAgent     = "none: the agent's own, of no identity"
	useNone      = "none"
)

// lookWorkbench is for commands that change nothing.
func lookWorkbench(o *commands.Options) (*workbench, error) {
	c, err := loadConfig(o.Config)
	if err != nil {
		return nil, err
	}
	store, err := lookKeys(c)
	if err != nil {
		return nil, err
	}
	w := &workbench{config: c, store: store}
	w.current, w.pending, w.unknown = identity.Look(identityDir(c))
	return w, nil
}

// openWorkbench takes the state directory when no agent has it, so that none starts meanwhile. New keys are of
// algorithm, or as the configuration has it when that is empty.
func openWorkbench(o *commands.Options, algorithm string) (*workbench, error) {
	c, err := loadConfig(o.Config)
	if err != nil {
		return nil, err
	}
	if algorithm != "" {
		c.Keys.Algorithm = algorithm
	}
	w := &workbench{config: c}
	if w.lock, err = lockState(c.Device.State); err != nil && !errors.Is(err, errRunning) {
		return nil, err
	}
	if w.store, err = w.openKeys(); err != nil {
		w.close()
		return nil, err
	}
	w.current, w.pending, w.unknown = identity.Look(identityDir(c))
	return w, nil
}

// openKeys cleans up after power cuts only where no agent is at work.
func (w *workbench) openKeys() (keys.Store, error) {
	if w.lock != nil {
		return openKeys(w.config, world{}, nil)
	}
	return lookKeys(w.config)
}

// close ends the helper of a token, and lets go of the state directory.
func (w *workbench) close() {
	if helper, ok := w.store.(io.Closer); ok {
		_ = helper.Close()
	}
	if w.lock != nil {
		_ = w.lock.Close()
	}
}

// use is what the device does with the key, by its name alone.
func (w *workbench) use(name string) string {
	switch {
	case w.current != nil && w.current.Key == name:
		return useCurrent
	case w.pending != nil && w.pending.Key == name:
		return usePending
	case w.config.Bootstrap.Key == filepath.Join(keysDir(w.config), name+".tss2.pem"):
		return useBootstrap
	case strings.HasPrefix(name, identity.KeyPrefix):
		return useAgent
	}
	return useNone
}

// useOf is what the device does with the key, by its public half too: a key that the factory made may serve under
// another name, or none.
func (w *workbench) useOf(name string, public crypto.PublicKey) (string, error) {
	if use := w.use(name); use != useNone && use != useAgent {
		return use, nil
	}
	bootstrap, err := readBootstrap(w.config.Bootstrap.Certificate)
	if err != nil {
		return "", err
	}
	for _, served := range []struct {
		use  string
		cert *x509.Certificate
	}{{useCurrent, leafOf(w.current)}, {usePending, leafOf(w.pending)}, {useBootstrap, bootstrap}} {
		key, ok := public.(interface{ Equal(crypto.PublicKey) bool })
		if ok && served.cert != nil && key.Equal(served.cert.PublicKey) {
			return served.use, nil
		}
	}
	return w.use(name), nil
}

func leafOf(id *identity.Identity) *x509.Certificate {
	if id == nil {
		return nil
	}
	return id.Leaf()
}

// readBootstrap returns the bootstrap certificate, nil where there is none: an enrolled device may do without.
func readBootstrap(path string) (*x509.Certificate, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	chain, err := identity.ParseChain(b)
	if err != nil {
		return nil, fmt.Errorf("bootstrap: %s: %w", path, err)
	}
	return chain[0], nil
}
