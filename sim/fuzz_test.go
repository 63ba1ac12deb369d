package sim

import (
	"encoding/json"
	"testing"
)

// fuzzed is a cloud with authorities for which nobody waits.
func fuzzed(f *testing.F) *Cloud {
	f.Helper()
	c, err := New(Temper{}, func(p *Policy) { p.ECDSAServer = true })
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { c.Close() })
	return c
}

// FuzzParseEnrollment: whatever a program wants, it is an enrollment of that ID that can be told, or an error.
func FuzzParseEnrollment(f *testing.F) {
	c := fuzzed(f)
	for _, seed := range []string{
		`{"registrationId":"d","attestation":{"type":"symmetricKey"}}`,
		`{"registrationId":"d","deviceId":"x","credentialPolicyName":"p","provisioningStatus":"disabled","attestation":{"type":"tpm","tpm":{"endorsementKey":"AAA="}}}`,
		`{"registrationId":"d","attestation":{"type":"x509","x509":{"clientCertificates":{"primary":{"certificate":"AAAA"}}}}}`,
		`{"enrollmentGroupId":"d","attestation":{"type":"x509","x509":{"signingCertificates":{"primary":{"certificate":""}},"caReferences":null}}}`,
		`{"enrollmentGroupId":"d","attestation":{"type":"x509","x509":{"caReferences":{"primary":"a","secondary":"b"}}},"iotHubs":["x"]}`, `null`, `[]`, `{`,
	} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, body []byte, group bool) {
		e, err := c.parseEnrollment("2025-07-01-preview", group, "d", body)
		if err != nil {
			return
		}
		if e.group() != group || !json.Valid(marshal(c.describe(e, true))) {
			t.Errorf("%s: %+v", body, e)
		}
	})
}

// FuzzParseIdentity: whatever a program wants, it is an entry that must present something, or an error.
func FuzzParseIdentity(f *testing.F) {
	for _, seed := range []string{
		`{"deviceId":"d"}`, `{"deviceId":"d","status":"disabled","authentication":{"type":"certificateAuthority"}}`,
		`{"deviceId":"d","authentication":{"type":"selfSigned","x509Thumbprint":{"primaryThumbprint":"0123456789012345678901234567890123456789"}}}`,
		`{"deviceId":"d","authentication":{"type":"sas","symmetricKey":{"primaryKey":"AAAA","secondaryKey":null}}}`, `null`, `[]`, `{`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		b, a, err := parseIdentity(body, "d", "")
		if err == nil && (b.DeviceID != "d" || len(a.Keys) == 1) {
			t.Errorf("%s: %+v %+v", body, b, a)
		}
	})
}

// FuzzParseWish: whatever a device registers with, it is a wish whose request bears its name, or an error.
func FuzzParseWish(f *testing.F) {
	c := fuzzed(f)
	for _, seed := range []string{
		``, `{}`, `{"registrationId":"d"}`, `{"registrationId":"d","csr":"AAAA","payload":{"a":[1]}}`, `{"registrationId":"d","payload":null,"tpm":{"endorsementKey":"","storageRootKey":""}}`,
		`{"clientCertificateCsr":"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"}`, `[]`, `{`,
	} {
		for _, v := range []string{"2019-03-31", oldPreview, "2025-07-01-preview"} {
			f.Add([]byte(seed), v, byHTTPS)
			f.Add([]byte(seed), v, byMQTT)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, v, transport string) {
		q := &claim{registration: "d", version: version(v), transport: transport}
		w, err := c.parseWish(q, body)
		if err == nil && w.request != nil && w.request.Subject.CommonName != "d" {
			t.Errorf("%s: %+v", body, w)
		}
	})
}

// FuzzParseCA: whatever is uploaded is a certificate or an error.
func FuzzParseCA(f *testing.F) {
	c := fuzzed(f)
	f.Add(encodePEM(c.FactoryCA()))
	f.Add(string(marshal(c.FactoryCA().Raw)))
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		if x, err := parseCA(text); err == nil && x == nil {
			t.Errorf("%q", text)
		}
	})
}
