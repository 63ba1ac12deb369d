package sim

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"strconv"
	"strings"
)

// subjectTypes are the attributes that a subject's text may have (RFC 4514, 3, and what .NET writes).
var subjectTypes = map[string]asn1.ObjectIdentifier{
	"CN": {2, 5, 4, 3}, "SERIALNUMBER": {2, 5, 4, 5}, "C": {2, 5, 4, 6}, "L": {2, 5, 4, 7}, "ST": {2, 5, 4, 8},
	"S": {2, 5, 4, 8}, "O": {2, 5, 4, 10}, "OU": {2, 5, 4, 11}, "DC": {0, 9, 2342, 19200300, 100, 1, 25},
}

// parseSubject turns a text as "CN=gateway-1, O=Example" into DER. Exactly one CN belongs in it.
func parseSubject(text string) ([]byte, error) {
	var names pkix.RDNSequence
	common := 0
	for _, part := range splitSubject(text) {
		kind, value, ok := strings.Cut(part, "=")
		kind = strings.ToUpper(strings.TrimSpace(kind))
		value = strings.TrimSpace(value)
		oid := subjectTypes[kind]
		if !ok || oid == nil || value == "" {
			return nil, badEZCA("SubjectName %q: what is %q?", text, part)
		}
		if kind == "CN" {
			common++
		}
		names = append(names, pkix.RelativeDistinguishedNameSET{{Type: oid, Value: value}})
	}
	if common != 1 {
		return nil, badEZCA("SubjectName %q has %d CN, not one", text, common)
	}
	der, err := asn1.Marshal(names)
	if err != nil {
		return nil, badEZCA("SubjectName %q: %v", text, err)
	}
	return der, nil
}

// splitSubject cuts at commas, but for those behind a backslash, which goes away.
func splitSubject(text string) []string {
	parts := []string{""}
	for i := 0; i < len(text); i++ {
		last := &parts[len(parts)-1]
		switch {
		case text[i] == '\\' && i+1 < len(text):
			i++
			*last += text[i : i+1]
		case text[i] == ',':
			parts = append(parts, "")
		default:
			*last += text[i : i+1]
		}
	}
	return parts
}

// commonName is the CN of a subject in DER.
func commonName(subject []byte) string {
	var names pkix.RDNSequence
	if _, err := asn1.Unmarshal(subject, &names); err != nil {
		return ""
	}
	var n pkix.Name
	n.FillFromRDNSequence(&names)
	return n.CommonName
}

const (
	oidClientAuth = "1.3.6.1.5.5.7.3.2"
	oidServerAuth = "1.3.6.1.5.5.7.3.1"
)

// keyUsages are the phrases that Keytos' clients know.
var keyUsages = map[string]x509.KeyUsage{
	"Digital Signature": x509.KeyUsageDigitalSignature,
	"Key Encipherment":  x509.KeyUsageKeyEncipherment,
	"Data Encipherment": x509.KeyUsageDataEncipherment,
	"Key Agreement":     x509.KeyUsageKeyAgreement,
	"Non Repudiation":   x509.KeyUsageContentCommitment,
}

func parseUsages(phrases []string, public crypto.PublicKey) (x509.KeyUsage, error) {
	if len(phrases) == 0 {
		return defaultUsage(public), nil
	}
	var all x509.KeyUsage
	for _, p := range phrases {
		if keyUsages[p] == 0 {
			return 0, badEZCA("the key usage %q", p)
		}
		all |= keyUsages[p]
	}
	return all, nil
}

func defaultUsage(public crypto.PublicKey) x509.KeyUsage {
	if _, ok := public.(*rsa.PublicKey); ok {
		return x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	}
	return x509.KeyUsageDigitalSignature
}

// parsePurposes holds dotted numbers against their form.
func parsePurposes(all []string) ([]string, error) {
	if len(all) == 0 {
		return []string{oidClientAuth, oidServerAuth}, nil
	}
	for _, s := range all {
		if _, err := parseOID(s); err != nil {
			return nil, badEZCA("the extended key usage %q", s)
		}
	}
	return all, nil
}

func parseOID(s string) (asn1.ObjectIdentifier, error) {
	var oid asn1.ObjectIdentifier
	for part := range strings.SplitSeq(s, ".") {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 {
			return nil, badEZCA("the number %q", s)
		}
		oid = append(oid, n)
	}
	if _, err := asn1.Marshal(oid); err != nil {
		return nil, err
	}
	return oid, nil
}

// encodePurposes is the value of the extension "extended key usage".
func encodePurposes(all []string) ([]byte, error) {
	var oids []asn1.ObjectIdentifier
	for _, s := range all {
		oid, err := parseOID(s)
		if err != nil {
			return nil, err
		}
		oids = append(oids, oid)
	}
	return asn1.Marshal(oids)
}
