package station_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
	"github.com/devid-agent/devid-agent/station"
)

func TestFilesKeepTheContract(t *testing.T) {
	for _, a := range []keys.Algorithm{keys.ECDSAP256, keys.RSA2048} {
		keystest.Suite(t, a, func(t *testing.T) keystest.Place {
			dir := t.TempDir()
			return func(t *testing.T) keys.Store {
				s, err := station.OpenFiles(dir, a)
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
		}, nil)
	}
}

func TestKeyFilesAreForTheirOwnerOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	s, err := station.OpenFiles(dir, keys.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(t.Context(), "ca"); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, "ca.key.pem"): 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
	}
	openssl(t, "pkey", "-in", filepath.Join(dir, "ca.key.pem"), "-check", "-noout")
}
