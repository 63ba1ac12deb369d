package est

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/provisioning"
	"github.com/devid-agent/devid-agent/sim"
)

// wishesFor is CsrAttrs of the values.
func wishesFor(t *testing.T, values ...any) []byte {
	t.Helper()
	der, err := asn1.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

type wish struct {
	Type   asn1.ObjectIdentifier
	Values []any `asn1:"set"`
}

var (
	oidP384        = asn1.ObjectIdentifier{1, 3, 132, 0, 34}
	oidECDSASHA384 = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}
)

func TestKeyOfAnotherKindIsNamedWhenTheCARefusesIt(t *testing.T) {
	attributes := wishesFor(t, wish{oidECPublicKey, []any{oidP384}})
	inWorld(t, sim.ESTTemper{Attributes: attributes}, func(w *world) {
		w.cloud.SetPolicy(func(p *sim.Policy) { p.P384Only = true })
		_, err := w.issue()
		if fault.Of(err) != fault.Permanent || !strings.Contains(fault.Hint(err), "ECDSA P-384") {
			w.Errorf("%v: %v | %s", fault.Of(err), err, fault.Hint(err))
		}
		w.key = newKey(w.T, keys.ECDSAP384)
		w.wantChain(w.issue())
	})
}

func TestRequestIsSignedAsTheCAWishes(t *testing.T) {
	inWorld(t, sim.ESTTemper{SameHash: true}, func(w *world) {
		if _, err := w.issue(); fault.Of(err) != fault.Permanent {
			w.Errorf("%v: %v", fault.Of(err), err)
		}
		w.cloud.SetTemper(est(sim.ESTTemper{SameHash: true, Attributes: wishesFor(t, oidECDSASHA384)}))
		w.wantChain(w.issue())
	})
}

func TestHardwareThatCannotHashAsWishedSignsAsItCan(t *testing.T) {
	inWorld(t, sim.ESTTemper{Attributes: wishesFor(t, oidECDSASHA384)}, func(w *world) {
		w.key = sha256Only{w.key}
		chain, err := w.issue()
		if err != nil || len(chain) != 2 {
			w.Errorf("%v", err)
		}
	})
}

func TestExtensionThatTheCAPrescribesIsAskedForOnceAndNotAtRenewals(t *testing.T) {
	san, err := asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte("gw.plant-7.example")}})
	if err != nil {
		t.Fatal(err)
	}
	extensions := []pkix.Extension{{Id: provisioning.OIDAlternativeNames, Value: san}, {Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: san}, {Id: asn1.ObjectIdentifier{1, 2, 3}}}
	inWorld(t, sim.ESTTemper{Attributes: wishesFor(t, wish{oidExtensionRequest, []any{extensions}})}, func(w *world) {
		w.inForce(w.issue())
		if names := w.ids.Current().Leaf().DNSNames; !slices.Equal(names, []string{"gw.plant-7.example"}) {
			w.Errorf("names %v", names)
		}
		w.wantChain(w.issue())
	})
	inWorld(t, sim.ESTTemper{}, func(w *world) {
		w.odd()
		w.cloud.SetTemper(est(sim.ESTTemper{Attributes: wishesFor(t, wish{oidExtensionRequest, []any{extensions}})}))
		w.wantChain(w.issue())
	})
}

func TestKeyWithoutPSSIsPresentedOverTLS12(t *testing.T) {
	inWorld(t, sim.ESTTemper{}, func(w *world) {
		key := newKey(w.T, keys.RSA2048)
		chain, err := w.cloud.Bootstrap(device, key.Public(), 24*time.Hour)
		if err != nil {
			w.Fatal(err)
		}
		boot := identity.Certificate(chain, noPSS{key})
		w.config.Bootstrap = func(context.Context) (tls.Certificate, error) { return boot, nil }
		w.wantChain(w.issue())
	})
}

// noPSS is an RSA key whose chip pads by PKCS #1 v1.5 only.
type noPSS struct{ crypto.Signer }

func (noPSS) SignatureSchemes() []tls.SignatureScheme {
	return []tls.SignatureScheme{tls.PKCS1WithSHA256, tls.PKCS1WithSHA384}
}
