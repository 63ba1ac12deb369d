package sim

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// ezcaMaxDays is how long a certificate of the template may live.
const ezcaMaxDays = 365

// ezcaIssueBody asks for a certificate. Subject and names are taken from here, the key from the request.
type ezcaIssueBody struct {
	CAID, TemplateID, CSR, SubjectName  string
	SubjectAltNames                     json.RawMessage // strings, or objects in V2
	ValidityInDays                      int
	EKUs, KeyUsages                     []string
	SelectedLocation, ResourceID        string
	SecretName, AKVName, CertAppID, SID string
	AutoRenew                           bool
	AutoRenewPercentage                 int
	CertificateTags                     json.RawMessage
}

// ezcaAltName is a name of V2: 1 is an e-mail address, 2 a DNS name, 6 a URI, 7 an IP address.
type ezcaAltName struct {
	SubjectAltType int
	ValueSTR       string
}

// ezcaRenewBody asks for the next certificate in the name of the present one. V1 is its Payload alone.
type ezcaRenewBody struct {
	Certificate string
	Payload     ezcaRenewPayload
}

type ezcaRenewPayload struct {
	CSR            string
	ValidityInDays int
}

// ezcaWish is a certificate to issue.
type ezcaWish struct {
	subject  []byte // DER
	altNames []byte // DER, or nil
	usage    x509.KeyUsage
	purposes []string // extended key usages, dotted
	life     time.Duration
	public   crypto.PublicKey
	old      *x509.Certificate // which this one renews, or nil
}

// decodeEZCA reads JSON as .NET does: members' names are exact, unknown ones are passed over.
func decodeEZCA(body []byte, into any) error {
	if err := json.Unmarshal(body, into); err != nil {
		return badEZCA("the body is not the JSON that belongs here: %v", err)
	}
	return exactNames(body, reflect.TypeOf(into).Elem())
}

// exactNames says which member of an object is written in another case than t has it, which encoding/json lets pass.
func exactNames(body []byte, t reflect.Type) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil || members == nil {
		return badEZCA("the body is not a JSON object")
	}
	for f := range t.Fields() {
		for name, value := range members {
			if name != f.Name && strings.EqualFold(name, f.Name) {
				return badEZCA("%s is not written %s", f.Name, name)
			}
			if name == f.Name && f.Type.Kind() == reflect.Struct {
				if err := exactNames(value, f.Type); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// parseEZCARequest takes one PEM block of PKCS #10 apart.
func parseEZCARequest(text string, t EZCATemper) (*x509.CertificateRequest, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE REQUEST" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, badEZCA("CSR is not one PEM block CERTIFICATE REQUEST")
	}
	r, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, badEZCA("CSR is not PKCS #10: %v", err)
	}
	if err := r.CheckSignature(); err != nil {
		return nil, badEZCA("CSR is not signed by its own key")
	}
	return r, checkEZCAKey(r.PublicKey, t)
}

// checkEZCAKey: Keytos' clients make RSA keys of 2048 and 4096 bits alone; that its REST interface takes EC keys is not
// documented.
func checkEZCAKey(public any, t EZCATemper) error {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < 2048 || n > 4096 {
			return badEZCA("an RSA key of %d bits", n)
		}
		return nil
	case *ecdsa.PublicKey:
		if t.RSAOnly || k.Curve != elliptic.P256() && k.Curve != elliptic.P384() {
			return badEZCA("an EC key on curve %s", k.Curve.Params().Name)
		}
		return nil
	}
	return badEZCA("a key of type %T", public)
}

// sniffDevice is for the books: whom a body is about, before it is judged.
func sniffDevice(body []byte) string {
	var any struct {
		CSR     string
		Payload struct{ CSR string }
	}
	json.Unmarshal(body, &any)
	block, _ := pem.Decode([]byte(any.CSR + any.Payload.CSR))
	if block == nil {
		return ""
	}
	r, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return ""
	}
	return r.Subject.CommonName
}

// names are the alternative names of the body: strings are DNS names.
func (b *ezcaIssueBody) names(objects bool) ([]ezcaAltName, error) {
	var names []ezcaAltName
	if len(b.SubjectAltNames) == 0 {
		return nil, nil
	}
	if objects {
		if err := json.Unmarshal(b.SubjectAltNames, &names); err != nil {
			return nil, badEZCA("SubjectAltNames are not objects: %v", err)
		}
		return names, nil
	}
	var all []string
	if err := json.Unmarshal(b.SubjectAltNames, &all); err != nil {
		return nil, badEZCA("SubjectAltNames are not strings: %v", err)
	}
	for _, s := range all {
		names = append(names, ezcaAltName{2, s})
	}
	return names, nil
}

// encodeAltNames is the extension's value, in the order given, or nil without names.
func encodeAltNames(names []ezcaAltName) ([]byte, error) {
	var all []asn1.RawValue
	for _, n := range names {
		value := []byte(n.ValueSTR)
		if n.SubjectAltType == 7 {
			ip := net.ParseIP(n.ValueSTR)
			if v4 := ip.To4(); v4 != nil {
				ip = v4
			}
			value = ip
		}
		if !strings.Contains("1267", strconv.Itoa(n.SubjectAltType)) || len(value) == 0 || !ascii(n.ValueSTR) {
			return nil, badEZCA("the alternative name %q of type %d", n.ValueSTR, n.SubjectAltType)
		}
		all = append(all, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: n.SubjectAltType, Bytes: value})
	}
	if all == nil {
		return nil, nil
	}
	return asn1.Marshal(all)
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// days is a lifetime.
func (t EZCATemper) days(n int) (time.Duration, error) {
	switch {
	case n < 1:
		return 0, badEZCA("ValidityInDays is %d", n)
	case n > ezcaMaxDays && !t.ClampValidity:
		return 0, badEZCA("ValidityInDays is %d, the template has %d at most", n, ezcaMaxDays)
	case t.Life > 0:
		return t.Life, nil
	}
	return time.Duration(min(n, ezcaMaxDays)) * 24 * time.Hour, nil
}

func base64SHA1(x *x509.Certificate) string {
	sum := sha1.Sum(x.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
