package sim_test

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

func x5t(x *x509.Certificate) string { return fmt.Sprintf("%X", sha1.Sum(x.Raw)) }

func ezcaHeader(x *x509.Certificate) map[string]any {
	return map[string]any{"typ": "JWT", "x5t": x5t(x)}
}

func ezcaClaims() map[string]any {
	now := time.Now()
	return map[string]any{"aud": "https://ezca.io", "jti": rand.Text(), "nbf": now.Unix(), "exp": now.Add(5 * time.Minute).Unix()}
}

func (c credential) ezcaToken(t *testing.T) string {
	return sign(t, c.key.(*rsa.PrivateKey), "RS256", ezcaHeader(c.chain[0]), ezcaClaims())
}

// like is a request with the names of x, byte for byte.
func like(x *x509.Certificate) *x509.CertificateRequest {
	r := &x509.CertificateRequest{RawSubject: x.RawSubject}
	for _, e := range x.Extensions {
		if e.Id.String() == "2.5.29.17" {
			r.ExtraExtensions = append(r.ExtraExtensions, e)
		}
	}
	return r
}

func renewRequest(t *testing.T, of *x509.Certificate, key crypto.Signer) map[string]any {
	return map[string]any{"Certificate": pemOf(of), "Payload": map[string]any{"CSR": request(t, like(of), key), "ValidityInDays": 30}}
}

func TestEZCARenewsForACertificatesOwnToken(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, c *sim.Cloud) {
		first := ezcaCredential(t, c, "gw-1", rsaKey(t))
		next := rsaKey(t)
		body := renewRequest(t, first.chain[0], next)
		_, v3 := ezcaSend(t, c, http.MethodPost, "/api/Certificates/RenewCertificateV3", first.ezcaToken(t), body)
		var chain chainAnswer
		if err := json.Unmarshal([]byte(v3), &chain); err != nil {
			t.Fatalf("%v %s", err, v3)
		}
		x := fromPEM(t, chain.CertificatePEM)
		if !bytes.Equal(x.RawSubject, first.chain[0].RawSubject) || x.DNSNames[0] != "gw-1" || !next.PublicKey.Equal(x.PublicKey) {
			t.Errorf("%+v %v", x.Subject, x.DNSNames)
		}
		_, v2 := ezcaSend(t, c, http.MethodPost, "/api/Certificates/RenewCertificateV2", first.ezcaToken(t), body)
		if fromPEM(t, v2).Subject.CommonName != "gw-1" {
			t.Error(v2)
		}
		_, v1 := ezcaSend(t, c, http.MethodPost, "/api/Certificates/RenewCertificate", first.ezcaToken(t), body["Payload"])
		if !strings.HasPrefix(v1, `{"Success":true,"Message":"-----BEGIN CERTIFICATE-----`) {
			t.Error(v1)
		}
		same := renewRequest(t, first.chain[0], first.key)
		if r, text := ezcaSend(t, c, http.MethodPost, "/api/Certificates/RenewCertificateV3", first.ezcaToken(t), same); r.StatusCode != 200 {
			t.Errorf("the same key: %s %s", r.Status, text)
		}
		if n := c.EZCACount("gw-1"); n.Renewals != 4 || n.Rekeyed != 3 || n.Renewed != 1 || n.Issued != 1 {
			t.Errorf("%+v", n)
		}
		_, text := ezcaSend(t, c, http.MethodGet, "/api/Certificates/RevokeCertificate", first.ezcaToken(t), nil)
		if !strings.Contains(text, `"Success":true`) {
			t.Error(text)
		}
		if r, text := ezcaSend(t, c, http.MethodPost, "/api/Certificates/RenewCertificateV3", first.ezcaToken(t), body); r.StatusCode != 401 || !strings.Contains(text, "revoked") {
			t.Errorf("after its revocation: %s %s", r.Status, text)
		}
	})
}

func TestEZCAJudgesACertificatesTokenToTheLetter(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, c *sim.Cloud) {
		key := rsaKey(t)
		mine := ezcaCredential(t, c, "gw-1", key)
		theirs := ezcaCredential(t, c, "gw-2", rsaKey(t))
		ec := ezcaCredential(t, c, "gw-3", newKey(t, elliptic.P256()))
		body := renewRequest(t, mine.chain[0], key)
		sum := sha1.Sum(mine.chain[0].Raw)
		replay := mine.ezcaToken(t)
		with := func(members map[string]any, name string, value any) map[string]any {
			members = maps.Clone(members)
			members[name] = value
			if value == nil {
				delete(members, name)
			}
			return members
		}
		header, soon := ezcaHeader(mine.chain[0]), time.Now().Add(time.Second).Unix()
		for _, one := range []struct {
			name  string
			token string
			want  string // of the refusal
		}{
			{"as it should be", sign(t, key, "RS256", ezcaHeader(mine.chain[0]), ezcaClaims()), ""},
			{"the other audience", sign(t, key, "RS256", header, with(ezcaClaims(), "aud", "https://agent.keytos.io")), ""},
			{"PS256", sign(t, key, "PS256", header, ezcaClaims()), "not RS256"},
			{"lower-case thumbprint", sign(t, key, "RS256", with(header, "x5t", strings.ToLower(x5t(mine.chain[0]))), ezcaClaims()), "upper-case"},
			{"base64url thumbprint", sign(t, key, "RS256", with(header, "x5t", base64.RawURLEncoding.EncodeToString(sum[:])), ezcaClaims()), "upper-case"},
			{"kid", sign(t, key, "RS256", with(header, "kid", "1"), ezcaClaims()), "kid does not belong"},
			{"iss", sign(t, key, "RS256", header, with(ezcaClaims(), "iss", "gw-1")), "iss does not belong"},
			{"audience of the host", sign(t, key, "RS256", header, with(ezcaClaims(), "aud", ezcaURL)), "audience"},
			{"no jti", sign(t, key, "RS256", header, with(ezcaClaims(), "jti", nil)), "jti"},
			{"a second too early", sign(t, key, "RS256", header, with(ezcaClaims(), "nbf", soon)), "not valid before"},
			{"a fraction of a second", sign(t, key, "RS256", header, with(ezcaClaims(), "nbf", 1.5e9+0.5)), "whole seconds"},
			{"expired", sign(t, key, "RS256", header, with(with(ezcaClaims(), "nbf", soon-600), "exp", soon-2)), "expired"},
			{"an hour", sign(t, key, "RS256", header, with(ezcaClaims(), "exp", soon+3600)), "lives"},
			{"another key", sign(t, rsaKey(t), "RS256", header, ezcaClaims()), "not signed by"},
			{"an unknown certificate", sign(t, key, "RS256", with(header, "x5t", x5t(mine.chain[1])), ezcaClaims()), "no certificate"},
			{"an EC certificate", sign(t, key, "RS256", ezcaHeader(ec.chain[0]), ezcaClaims()), "not RSA"},
			{"not a token", "abc", "malformed"},
			{"nothing", "", "no bearer"},
			{"once", replay, ""},
			{"twice", replay, "seen before"},
		} {
			r, text := ezcaSend(t, c, http.MethodPost, "/api/Certificates/RenewCertificateV3", one.token, body)
			if one.want == "" && r.StatusCode != 200 || one.want != "" && (r.StatusCode != 401 || !strings.Contains(text, one.want)) {
				t.Errorf("%s: %s %s", one.name, r.Status, text)
			}
		}
		for name, one := range map[string]map[string]any{
			"another's certificate": renewRequest(t, theirs.chain[0], key),
			"without its names":     {"Certificate": pemOf(mine.chain[0]), "Payload": map[string]any{"CSR": request(t, named("gw-1"), key), "ValidityInDays": 30}},
			"too many days":         {"Certificate": pemOf(mine.chain[0]), "Payload": map[string]any{"CSR": request(t, like(mine.chain[0]), key), "ValidityInDays": 400}},
		} {
			if r, text := ezcaSend(t, c, http.MethodPost, "/api/Certificates/RenewCertificateV3", mine.ezcaToken(t), one); r.StatusCode != 400 {
				t.Errorf("%s: %s %s", name, r.Status, text)
			}
		}
		c.EZCARevoke("gw-2")
		if r, text := ezcaSend(t, c, http.MethodPost, "/api/Certificates/RenewCertificateV3", theirs.ezcaToken(t), renewRequest(t, theirs.chain[0], key)); r.StatusCode != 401 || !strings.Contains(text, "revoked") {
			t.Errorf("revoked: %s %s", r.Status, text)
		}
		time.Sleep(31 * 24 * time.Hour)
		if r, text := ezcaSend(t, c, http.MethodPost, "/api/Certificates/RenewCertificateV3", mine.ezcaToken(t), body); r.StatusCode != 401 || !strings.Contains(text, "expired") {
			t.Errorf("expired: %s %s", r.Status, text)
		}
	})
}
