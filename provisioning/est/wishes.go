package est

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"

	"github.com/devid-agent/devid-agent/fault"
)

// wishes are the CSR attributes: what the CA would like to see in a request (RFC 7030, 4.5.2; RFC 9908). The zero
// value wishes nothing.
type wishes struct {
	algorithms []x509.SignatureAlgorithm
	keys       []string // "ECDSA P-384", "RSA 3072"
	extensions []pkix.Extension
	others     []asn1.ObjectIdentifier // that this client has no answer to
}

var (
	oidECPublicKey      = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	oidRSAEncryption    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidExtensionRequest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14}

	signatureOIDs = map[string]x509.SignatureAlgorithm{
		"1.2.840.10045.4.3.2":   x509.ECDSAWithSHA256,
		"1.2.840.10045.4.3.3":   x509.ECDSAWithSHA384,
		"1.2.840.10045.4.3.4":   x509.ECDSAWithSHA512,
		"1.2.840.113549.1.1.11": x509.SHA256WithRSA,
		"1.2.840.113549.1.1.12": x509.SHA384WithRSA,
		"1.2.840.113549.1.1.13": x509.SHA512WithRSA,
	}
	curves = map[string]string{
		"1.2.840.10045.3.1.7": "ECDSA P-256",
		"1.3.132.0.34":        "ECDSA P-384",
		"1.3.132.0.35":        "ECDSA P-521",
	}
)

// attribute is the second of the two forms that a wish has; the first is an OID alone.
type attribute struct {
	Type   asn1.ObjectIdentifier
	Values []asn1.RawValue `asn1:"set"`
}

// parseWishes reads CsrAttrs, a SEQUENCE OF AttrOrOID (RFC 8951, 4).
func parseWishes(der []byte) (wishes, error) {
	var w wishes
	var all []asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &all); err != nil || len(rest) > 0 {
		return w, errors.Join(err, trailing(rest))
	}
	for _, one := range all {
		a := attribute{}
		into := any(&a)
		if one.Class == asn1.ClassUniversal && one.Tag == asn1.TagOID {
			into = &a.Type
		}
		if _, err := asn1.Unmarshal(one.FullBytes, into); err != nil {
			return wishes{}, err
		}
		w.add(a)
	}
	return w, nil
}

func trailing(rest []byte) error {
	if len(rest) == 0 {
		return nil
	}
	return fmt.Errorf("%d bytes follow the end", len(rest))
}

func (w *wishes) add(a attribute) {
	if algorithm, ok := signatureOIDs[a.Type.String()]; ok {
		w.algorithms = append(w.algorithms, algorithm)
		return
	}
	switch {
	case a.Type.Equal(oidECPublicKey):
		w.addCurves(a.Values)
	case a.Type.Equal(oidRSAEncryption):
		w.addSizes(a.Values)
	case a.Type.Equal(oidExtensionRequest):
		w.addExtensions(a.Values)
	default:
		w.others = append(w.others, a.Type)
	}
}

func (w *wishes) addCurves(values []asn1.RawValue) {
	for _, v := range values {
		var curve asn1.ObjectIdentifier
		if _, err := asn1.Unmarshal(v.FullBytes, &curve); err == nil && curves[curve.String()] != "" {
			w.keys = append(w.keys, curves[curve.String()])
		}
	}
}

func (w *wishes) addSizes(values []asn1.RawValue) {
	for _, v := range values {
		var bits int
		if _, err := asn1.Unmarshal(v.FullBytes, &bits); err == nil {
			w.keys = append(w.keys, fmt.Sprintf("RSA %d", bits))
		}
	}
}

// addExtensions takes over the extensions that the CA prescribes with their value. One without a value asks the
// client to think of it; this client has only its name, and that is in the subject (RFC 9908, 3.2).
func (w *wishes) addExtensions(values []asn1.RawValue) {
	for _, v := range values {
		var all []pkix.Extension
		if _, err := asn1.Unmarshal(v.FullBytes, &all); err != nil {
			continue
		}
		for _, e := range all {
			known := func(x pkix.Extension) bool { return x.Id.Equal(e.Id) }
			if len(e.Value) > 0 && !slices.ContainsFunc(w.extensions, known) {
				w.extensions = append(w.extensions, e)
			}
		}
	}
}

// algorithm is what requests for a key are usually signed by, and what this CA wishes them to be signed by.
func (w wishes) algorithm(public crypto.PublicKey) (usual, wished x509.SignatureAlgorithm) {
	possible := []x509.SignatureAlgorithm{x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512}
	if _, ok := public.(*rsa.PublicKey); ok {
		possible = []x509.SignatureAlgorithm{x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA}
	}
	for _, a := range possible {
		if slices.Contains(w.algorithms, a) {
			return possible[0], a
		}
	}
	return possible[0], possible[0]
}

// explain adds to a refusal that the key is not of a kind that the CA asks for.
func (w wishes) explain(err error, public crypto.PublicKey) error {
	kind := kindOf(public)
	if fault.Of(err) == fault.Transient || len(w.keys) == 0 || slices.Contains(w.keys, kind) {
		return err
	}
	return fault.As(fault.Of(err), fault.AskOperator(err,
		fmt.Sprintf("set keys.algorithm: the CA asks for %v keys, this one is %s", w.keys, kind)))
}

func kindOf(public crypto.PublicKey) string {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Curve.Params().Name
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", k.N.BitLen())
	}
	return fmt.Sprintf("%T", public)
}
