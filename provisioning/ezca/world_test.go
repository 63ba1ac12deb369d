package ezca

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
	"github.com/devid-agent/devid-agent/provisioning"
)

const device = "gateway-1"

// someKeys are as many RSA keys as a story needs: making one takes a while.
var someKeys = sync.OnceValues(func() (all [4]crypto.Signer, err error) {
	for i := range all {
		if all[i], err = keystest.Generate(keys.RSA2048); err != nil {
			return all, err
		}
	}
	return all, nil
})

// keyRing is a keys.Store whose keys are there before they are asked for.
type keyRing struct {
	keys.Store
	made map[string]crypto.Signer
	all  [4]crypto.Signer
}

func newKeyRing(t *testing.T) *keyRing {
	t.Helper()
	all, err := someKeys()
	if err != nil {
		t.Fatal(err)
	}
	return &keyRing{made: map[string]crypto.Signer{}, all: all}
}

func (k *keyRing) Create(_ context.Context, name string) (crypto.Signer, error) {
	k.made[name] = k.all[len(k.made)%len(k.all)]
	return k.made[name], nil
}

func (k *keyRing) Open(_ context.Context, name string) (crypto.Signer, error) {
	if key, ok := k.made[name]; ok {
		return key, nil
	}
	return nil, keys.ErrNotFound
}

func (k *keyRing) Delete(context.Context, string) error { return nil }

func (k *keyRing) Names(context.Context) (names []string, err error) {
	for name := range k.made {
		names = append(names, name)
	}
	return names, nil
}

// world is a device and its client of EZCA.
type world struct {
	*testing.T
	ids    *identity.Store
	key    crypto.Signer // that the device wants certified
	name   string        // of that key
	config Config
	log    *bytes.Buffer
}

func newWorld(t *testing.T, store keys.Store) *world {
	t.Helper()
	w := &world{T: t, log: &bytes.Buffer{}}
	var err error
	if w.ids, err = identity.Open(t.Context(), t.TempDir(), store, nil); err != nil {
		t.Fatal(err)
	}
	w.next()
	w.config = Config{UserAgent: "devid-agent/1", TokenFile: filepath.Join(t.TempDir(), "token"),
		Log: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	return w
}

// next is the key of the next generation.
func (w *world) next() {
	w.Helper()
	var err error
	if w.name, w.key, err = w.ids.NextKey(w.Context()); err != nil {
		w.Fatal(err)
	}
}

// handOver puts a token where the device finds it.
func (w *world) handOver(token string) {
	w.Helper()
	if err := os.WriteFile(w.config.TokenFile, []byte(token+"\n"), 0o600); err != nil {
		w.Fatal(err)
	}
}

// tokenIsLeft reports whether the token is still there.
func (w *world) tokenIsLeft() bool {
	_, err := os.Stat(w.config.TokenFile)
	return !errors.Is(err, os.ErrNotExist)
}

// issue asks as the renewer does: with the identity in force, if there is one.
func (w *world) issue() ([]*x509.Certificate, error) {
	return New(w.config).Issue(w.Context(), w.request())
}

func (w *world) request() provisioning.Request {
	return provisioning.Request{DeviceID: device, Key: w.key, Current: w.ids.Current()}
}

func grant(chain []*x509.Certificate) identity.Grant {
	return identity.Grant{Assignment: identity.Assignment{DeviceID: device, Hub: "hub"}, Chain: chain}
}

// inForce stages and promotes what was issued, and makes the key after it.
func (w *world) inForce(chain []*x509.Certificate, err error) {
	w.Helper()
	if err != nil {
		w.Fatalf("%v\n%s", err, w.log)
	}
	if _, err := w.ids.Stage(w.Context(), w.name, grant(chain)); err != nil {
		w.Fatal(err)
	}
	if err := w.ids.Promote(); err != nil {
		w.Fatal(err)
	}
	w.next()
}

// wantChain holds a chain against what somebody accepts who has root and nothing else.
func (w *world) wantChain(root *x509.Certificate, chain []*x509.Certificate, err error) {
	w.Helper()
	if err != nil {
		w.Fatalf("%v\n%s", err, w.log)
	}
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	options.Roots.AddCert(root)
	for _, x := range chain[1:] {
		options.Intermediates.AddCert(x)
	}
	if _, err := chain[0].Verify(options); err != nil {
		w.Error(err)
	}
	if err := identity.Check(grant(chain), w.key, time.Now()); err != nil {
		w.Errorf("the chain is not usable: %v", err)
	}
}
