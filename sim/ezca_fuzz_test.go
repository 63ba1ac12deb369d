package sim

import (
	"strings"
	"testing"
	"time"
)

// What comes from outside without a credential is read here, so these look at the readers themselves.

func FuzzATokenIsReadOrRefused(f *testing.F) {
	f.Add("eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJhdWQiOiJodHRwczovL2V6Y2EuaW8iLCJqdGkiOiJhIiwibmJmIjoxLCJleHAiOjJ9.AAAA")
	f.Add("e30.e30.AA")
	f.Add("bnVsbA.bnVsbA.AA")
	f.Add("a.b")
	f.Fuzz(func(t *testing.T, text string) {
		j, err := parseJWS(text)
		if err != nil {
			return
		}
		if j.header == nil || j.claims == nil || len(j.signature) == 0 || !strings.HasPrefix(text, string(j.signed)+".") {
			t.Errorf("%+v", j)
		}
		if j.forEZCA(EZCATemper{}, time.Unix(1, 0)) == nil && (j.claim("jti") == "" || len(j.claims) != 4) {
			t.Errorf("%v was taken", j.claims)
		}
	})
}

func FuzzARequestToEZCAIsReadOrRefused(f *testing.F) {
	f.Add([]byte(`{"CAID":"a","SubjectName":"CN=gw-1, O=Example\\, Inc","SubjectAltNames":[{"SubjectAltType":7,"ValueSTR":"::1"}],"ValidityInDays":3,"EKUs":["1.2.3"]}`))
	f.Add([]byte(`{"csr":"x"}`))
	f.Add([]byte(`{"SubjectName":"CN=a,CN=b","EKUs":["3.40.1"]}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, body []byte) {
		sniffDevice(body)
		var b ezcaIssueBody
		if decodeEZCA(body, &b) != nil {
			return
		}
		if subject, err := parseSubject(b.SubjectName); err == nil && commonName(subject) == "" {
			t.Errorf("%q has no name", b.SubjectName)
		}
		if names, err := b.names(true); err == nil {
			encodeAltNames(names)
		}
		if all, err := parsePurposes(b.EKUs); err == nil {
			if _, err := encodePurposes(all); err != nil {
				t.Errorf("%q: %v", b.EKUs, err)
			}
		}
		var r ezcaRenewBody
		decodeEZCA(body, &r)
		var d ezcaDomain
		decodeEZCA(body, &d)
	})
}
