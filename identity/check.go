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

// Check says why the grant is not one to connect with at the time now using key, or nil. The error is Permanent, unless the
// hardware does not sign now: then it is of the hardware's kind. Without a key the grant must be without a certificate.
func Check(g Grant, key crypto.Signer, now time.Time) error {
	if err := check(g, key, now); err != nil || key == nil {
		return fault.As(fault.Permanent, err)
	}
	return checkKey(g.Chain[0], key)
}

func check(g Grant, key crypto.Signer, now time.Time) error {
	if g.DeviceID == "" || g.Hub == "" {
		return fmt.Errorf("grant names no device or no hub: %+v", g.Assignment)
	}
	switch {
	case !g.Certified() && key == nil:
		return nil
	case !g.Certified():
		return errors.New("grant has no certificate")
	case key == nil:
		return errors.New("grant has a certificate, and there is no key")
	}
	return checkChain(g.Chain, g.Name(), key.Public(), now)
}

// CheckChain says why chain, leaf first, is not one to present at the time now as name with the key that public belongs
// to, or nil. The error is Permanent.
func CheckChain(chain []*x509.Certificate, name string, public crypto.PublicKey, now time.Time) error {
	return fault.As(fault.Permanent, checkChain(chain, name, public, now))
}

func checkChain(chain []*x509.Certificate, name string, public crypto.PublicKey, now time.Time) error {
	leaf := chain[0]
	if err := checkLeaf(leaf, name, now); err != nil {
		return fmt.Errorf("certificate %s: %w", leaf.SerialNumber.Text(16), err)
	}
	if err := checkLinks(chain); err != nil {
		return err
	}
	if own, ok := public.(interface{ Equal(crypto.PublicKey) bool }); !ok || !own.Equal(leaf.PublicKey) {
		return errors.New("the certificate is for another key")
	}
	return nil
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
	digest := sha256.Sum256(leaf.Raw)
	signature, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return fmt.Errorf("probe signature: %w", err)
	}
	algorithm := x509.ECDSAWithSHA256
	if _, ok := key.Public().(*rsa.PublicKey); ok {
		algorithm = x509.SHA256WithRSA
	}
	if err := leaf.CheckSignature(algorithm, leaf.Raw, signature); err != nil {
		return fault.As(fault.Permanent, fmt.Errorf("probe signature of the hardware key: %w", err))
	}
	return nil
}
