package identity

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

// skew is how far in the future a certificate may begin and still count as valid now: Azure tolerates five minutes.
const skew = 5 * time.Minute

// Check says why the grant is not one to connect with at the time now using key, or nil. The error is Permanent.
func Check(g Grant, key crypto.Signer, now time.Time) error {
	return fault.As(fault.Permanent, check(g, key, now))
}

func check(g Grant, key crypto.Signer, now time.Time) error {
	if g.DeviceID == "" || g.Hub == "" {
		return fmt.Errorf("grant names no device or no hub: %+v", g.Assignment)
	}
	if len(g.Chain) == 0 {
		return errors.New("grant has no certificate")
	}
	leaf := g.Chain[0]
	if err := checkLeaf(leaf, g.DeviceID, now); err != nil {
		return fmt.Errorf("certificate %s: %w", leaf.SerialNumber.Text(16), err)
	}
	if err := checkLinks(g.Chain); err != nil {
		return err
	}
	return checkKey(leaf, key)
}

func checkLeaf(leaf *x509.Certificate, device string, now time.Time) error {
	switch {
	case leaf.Subject.CommonName != device:
		return fmt.Errorf("common name is %q, the device is %q", leaf.Subject.CommonName, device)
	case now.After(leaf.NotAfter):
		return fmt.Errorf("expired at %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Add(skew).Before(leaf.NotBefore):
		return fmt.Errorf("not valid before %s, and the clock says %s", leaf.NotBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case leaf.IsCA:
		return errors.New("is a certificate authority's, not a device's")
	case !forClient(leaf):
		return errors.New("is not for TLS client authentication")
	case leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return errors.New("its key usage does not allow signatures")
	}
	return nil
}

func forClient(leaf *x509.Certificate) bool {
	if len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) == 0 {
		return true
	}
	for _, u := range leaf.ExtKeyUsage {
		if u == x509.ExtKeyUsageClientAuth || u == x509.ExtKeyUsageAny {
			return true
		}
	}
	return false
}

// checkLinks holds each certificate against the next one as its issuer. A chain may end below its root.
func checkLinks(chain []*x509.Certificate) error {
	for i := range len(chain) - 1 {
		if err := chain[i].CheckSignatureFrom(chain[i+1]); err != nil {
			return fmt.Errorf("chain: %q is not signed by %q: %w", chain[i].Subject, chain[i+1].Subject, err)
		}
	}
	return nil
}

// checkKey proves with a signature that the key in hardware is the one in the certificate.
func checkKey(leaf *x509.Certificate, key crypto.Signer) error {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(leaf.PublicKey) {
		return errors.New("the certificate is for another key")
	}
	digest := sha256.Sum256(leaf.Raw)
	signature, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return fault.As(fault.Of(err), fmt.Errorf("probe signature: %w", err))
	}
	algorithm := x509.ECDSAWithSHA256
	if _, ok := key.Public().(*rsa.PublicKey); ok {
		algorithm = x509.SHA256WithRSA
	}
	if err := leaf.CheckSignature(algorithm, leaf.Raw, signature); err != nil {
		return fmt.Errorf("probe signature of the hardware key: %w", err)
	}
	return nil
}
