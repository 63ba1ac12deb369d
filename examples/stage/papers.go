package stage

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

// Papers are what the factory gives a device: a bootstrap certificate, its key, and the roots of the cloud.
func Papers(cloud *sim.Cloud, device, dir string) error {
	return errors.Join(Bootstrap(cloud, device, filepath.Join(dir, "bootstrap")),
		os.WriteFile(filepath.Join(dir, "roots.pem"), cloud.RootsPEM(), 0o644))
}

// Bootstrap makes a software key of P-256 and a certificate of the simulated cloud's factory, good for a day, in FILE.key and
// FILE.pem.
func Bootstrap(cloud *sim.Cloud, device, file string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	certificates, err := cloud.Bootstrap(device, key.Public(), 24*time.Hour)
	if err != nil {
		return err
	}
	var chain [][]byte
	for _, c := range certificates {
		chain = append(chain, c.Raw)
	}
	return errors.Join(WriteChain(file+".pem", chain...), WriteKey(file+".key", key))
}

// WriteChain writes certificates, each in DER, as PEM.
func WriteChain(file string, chain ...[]byte) error {
	var text []byte
	for _, der := range chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return os.WriteFile(file, text, 0o644)
}

// WriteKey writes a private key as PKCS #8 in PEM.
func WriteKey(file string, key any) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

// Configure writes an agent's configuration: an example in which ${NAME} stands for each of the values.
func Configure(file, example string, values map[string]string) error {
	text, err := os.ReadFile(example)
	if err != nil {
		return err
	}
	return os.WriteFile(file, []byte(os.Expand(string(text), func(name string) string { return values[name] })), 0o644)
}
