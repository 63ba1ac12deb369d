package main

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/devid-agent/devid-agent/identity"
)

// maxPEM is far more than any chain or bundle of roots needs.
const maxPEM = 4 << 20

// checkFiles looks at every file that the configuration names. Whether a certificate is in date is not asked here:
// at boot the clock may be wrong, and an agent that does not start cannot renew.
func (d *decoder) checkFiles(c *Config) {
	if c.Bootstrap.Certificate != "" && !enrolled(c) {
		chain := d.certificates("bootstrap.certificate", c.Bootstrap.Certificate)
		public := d.privateKey("bootstrap.key", c.Bootstrap.Key)
		d.checkPair(chain, public)
		d.checkSubject(c, chain)
	}
	for field, path := range map[string]string{
		"provisioning.dps.roots": c.Provisioning.DPS.Roots, "hub.roots": c.Hub.Roots, "trust.roots": c.Trust.Roots,
		"provisioning.est.roots": c.Provisioning.EST.Roots, "provisioning.est.anchors": c.Provisioning.EST.Anchors,
		"provisioning.ezca.roots": c.Provisioning.EZCA.Roots, "provisioning.ezca.issuers": c.Provisioning.EZCA.Issuers,
	} {
		d.certificates(field, path)
	}
	if info, err := os.Stat(c.Device.State); err == nil {
		d.wrong("device.state", !info.IsDir(), c.Device.State+" is not a directory", "name one, or a path that does not exist yet")
	}
}

// enrolled reports whether the device has an identity with a key of its own. It then needs its bootstrap credential
// only as a way back, and a file that is gone must not stop it: check says so.
func enrolled(c *Config) bool {
	current, _, err := identity.Look(identityDir(c))
	return err == nil && current != nil && !ownsBootstrapKey(current)
}

// certificates reads the PEM file that field names; nil where there is none, or after noting why.
func (d *decoder) certificates(field, path string) []*x509.Certificate {
	text, _ := d.pemFile(field, path)
	if text == nil {
		return nil
	}
	var chain []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			d.wrong(field, isKey(block.Type), "a private key in "+path+", where certificates belong", "name the file of the certificate")
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			d.wrong(field, true, fmt.Sprintf("certificate %d in %s: %v", len(chain)+1, path, err), "export it again")
			return nil
		}
		chain = append(chain, c)
	}
	_, err := x509.ParseCertificate(text)
	d.wrong(field, err == nil, path+" is DER, not PEM", "convert it: openssl x509 -inform der -in "+path+" -out FILE.pem")
	d.wrong(field, len(chain) == 0, "no certificate in "+path, "put the chain there as PEM, leaf first")
	if d.bad[field] {
		return nil
	}
	return chain
}

// privateKey checks the key file that field names, and returns its public key where the file tells it.
func (d *decoder) privateKey(field, path string) crypto.PublicKey {
	if inHardware(path) {
		return nil
	}
	text, mode := d.pemFile(field, path)
	if text == nil {
		return nil
	}
	block := keyBlock(text)
	if block == nil {
		d.wrong(field, true, "no private key in "+path, "put it there as PEM: PRIVATE KEY, EC PRIVATE KEY, RSA PRIVATE KEY or TSS2 PRIVATE KEY")
		return nil
	}
	encrypted := strings.Contains(block.Type, "ENCRYPTED") || block.Headers["DEK-Info"] != ""
	d.wrong(field, encrypted, "the key in "+path+" is behind a passphrase, and nobody is there to type it",
		"decrypt it, or better, put the key into the TPM")
	if block.Type == "TSS2 PRIVATE KEY" {
		return nil // sealed by the TPM, which alone can open it: no secret in itself
	}
	d.wrong(field, mode&0o007 != 0, fmt.Sprintf("%s is open to everyone (mode %04o)", path, mode), "close it: chmod 0600 "+path)
	signer, err := parseSigner(block)
	if err != nil {
		d.wrong(field, true, "the key in "+path+" is not understood", "export it again as PKCS#8: openssl pkcs8 -topk8 -nocrypt")
		return nil
	}
	return signer.Public()
}

func keyBlock(text []byte) *pem.Block {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if isKey(block.Type) {
			return block
		}
	}
	return nil
}

func isKey(pemType string) bool { return strings.HasSuffix(pemType, "PRIVATE KEY") }

// parseSigner never says what it read: a parser's error may quote the secret.
func parseSigner(block *pem.Block) (crypto.Signer, error) {
	var k any
	var err error
	switch block.Type {
	case "EC PRIVATE KEY":
		k, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		k, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		k, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	signer, ok := k.(crypto.Signer)
	if err != nil || !ok {
		return nil, errors.New("not a private key that signs")
	}
	return signer, nil
}

// checkPair notes a leaf and a key that are not of one pair.
func (d *decoder) checkPair(chain []*x509.Certificate, public crypto.PublicKey) {
	own, ok := public.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || len(chain) == 0 || own.Equal(chain[0].PublicKey) {
		return
	}
	const field, other = "bootstrap.certificate", "bootstrap.key"
	for i, c := range chain[1:] {
		d.wrong(field, own.Equal(c.PublicKey), fmt.Sprintf("the leaf is number %d in the file", i+2), "put the leaf first, then the certificate that signed it")
	}
	d.wrong(field, true, "the first certificate is for another key than "+d.line(other), "put the pair there that was made together")
}

// checkSubject notes a leaf that names another device: DPS compares its common name with the registration ID
// (Microsoft Learn, "X.509 certificate attestation"); the hub, which the certificate meets when there is no CSR,
// compares letter by letter.
func (d *decoder) checkSubject(c *Config, chain []*x509.Certificate) {
	if len(chain) == 0 || c.Hub.Host != "" || c.Provisioning.Issuer == issuerEST || !d.sets("device.id") {
		return
	}
	name := chain[0].Subject.CommonName
	same := name == c.Device.ID || c.Provisioning.Issuer == issuerDPS && strings.EqualFold(name, c.Device.ID)
	d.wrong("bootstrap.certificate", !same, fmt.Sprintf("the certificate is for %q, and %s is %q", name, d.line("device.id"), c.Device.ID),
		"write the name of the certificate into device.id, or ask for a certificate for this device")
}

// pemFile reads the file that field names; nil where the file sets none, or after noting why it cannot be read.
func (d *decoder) pemFile(field, path string) ([]byte, fs.FileMode) {
	if path == "" || !d.sets(field) {
		return nil, 0
	}
	text, mode, err := readRegular(path)
	if err != nil {
		what, remedy := whyUnreadable(path, err)
		d.wrong(field, true, what, remedy)
		return nil, 0
	}
	d.wrong(field, len(text) == 0, path+" is empty", "put the PEM text there")
	if d.bad[field] {
		return nil, 0
	}
	return bytes.Clone(text), mode
}

// readRegular opens without waiting, so that a pipe with nobody at its other end is an error and no silence.
func readRegular(path string) ([]byte, fs.FileMode, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if info.IsDir() {
		return nil, 0, syscall.EISDIR
	}
	if !info.Mode().IsRegular() || info.Size() > maxPEM {
		return nil, 0, errors.New("no file of certificates or keys")
	}
	text, err := io.ReadAll(io.LimitReader(f, maxPEM))
	return text, info.Mode().Perm(), err
}

// whyUnreadable says why path cannot be read, and what to do.
func whyUnreadable(path string, err error) (what, remedy string) {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		err = pathError.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return path + " does not exist", "put the file there, or name another"
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("%s is not readable for user %d", path, os.Getuid()), "give it to the user that runs devid-agent: chown devid-agent " + path
	case errors.Is(err, syscall.EISDIR):
		return path + " is a directory", "name the file in it"
	case errors.Is(err, syscall.ENOTDIR):
		return "a part of " + path + " is not a directory", "correct the path"
	}
	return path + ": " + err.Error(), "name a readable file"
}
