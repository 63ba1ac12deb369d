package sim_test

import (
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

// ownCA is a root in a user's own hands.
func ownCA(t *testing.T) (credential, *x509.Certificate) {
	t.Helper()
	key := newKey(t, elliptic.P256())
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Own Root"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(1000 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	return credential{key: key}, certify(t, template, template, key.Public(), key)
}

func certify(t *testing.T, template, parent *x509.Certificate, public, key any) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	x, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// leafOf is signed by the CA.
func leafOf(t *testing.T, ca credential, root *x509.Certificate, cn string) credential {
	t.Helper()
	key := newKey(t, elliptic.P256())
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: cn}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(100 * time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	return credential{key, []*x509.Certificate{certify(t, template, root, key.Public(), ca.key), root}}
}

// atManagement has a token of Entra ID for Azure's management.
func atManagement(t *testing.T, cloud *sim.Cloud) *browser {
	t.Helper()
	app := cloud.EntraApp(sim.EntraApp{Name: "station", Secret: "a secret"})
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {app.ClientID}, "client_secret": {"a secret"}, "scope": {"https://management.azure.com/.default"}}
	var answer struct {
		Token string `json:"access_token"`
	}
	browse(t, cloud, sim.EntraHost, credential{}).with("Content-Type", "application/x-www-form-urlencoded").
		want(http.StatusOK, "POST", "/"+cloud.Entra().Tenant+"/oauth2/v2.0/token", form.Encode()).into(t, &answer)
	return browse(t, cloud, sim.ManagementHost, credential{}).with("Authorization", "Bearer "+answer.Token)
}

func TestACAIsTrustedWhenItsOwnerHasShownItsKey(t *testing.T) {
	for service, version := range map[string]string{"IotHubs/simhub": "2023-06-30", "provisioningServices/simdps": "2022-12-12"} {
		inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
			b := atManagement(t, cloud)
			ca, root := ownCA(t)
			path := "/subscriptions/s-1/resourceGroups/plant/providers/Microsoft.Devices/" + service + "/certificates/own"
			query := "?api-version=" + version
			trusted := func() bool { return trusts(t, cloud, leafOf(t, ca, root, "d"), service) }
			b.want(404, "GET", path+query, "")
			var a struct {
				Etag, Name, Type string
				Properties       struct {
					IsVerified                            bool
					Thumbprint, Subject, VerificationCode string
				}
			}
			b.want(200, "PUT", path+query, fmt.Sprintf(`{"properties":{"certificate":%q}}`, encode64(root.Raw))).into(t, &a)
			if a.Properties.IsVerified || len(a.Properties.Thumbprint) != 40 || a.Properties.Subject != "CN=Own Root" || a.Name != "own" || trusted() {
				t.Errorf("uploaded: %+v", a)
			}
			b.want(412, "POST", path+"/generateVerificationCode"+query, "")
			b.with("If-Match", a.Etag).want(200, "POST", path+"/generateVerificationCode"+query, "").into(t, &a)
			code := a.Properties.VerificationCode
			if code == "" {
				t.Fatalf("%+v", a)
			}
			other, otherRoot := ownCA(t)
			for name, proof := range map[string]credential{"another code": leafOf(t, ca, root, "x"), "another CA": leafOf(t, other, otherRoot, code), "in small letters": leafOf(t, ca, root, strings.ToLower(code))} {
				if r := b.with("If-Match", a.Etag).do("POST", path+"/verify"+query, fmt.Sprintf(`{"certificate":%q}`, encode64(proof.chain[0].Raw))); r.status != 400 {
					t.Errorf("%s: %d %s", name, r.status, r.body)
				}
			}
			b.with("If-Match", a.Etag).want(200, "POST", path+"/verify"+query, fmt.Sprintf(`{"certificate":%q}`, encode64(leafOf(t, ca, root, code).chain[0].Raw))).into(t, &a)
			if !a.Properties.IsVerified || !trusted() {
				t.Errorf("proven: %+v", a)
			}
			if r := b.want(200, "GET", strings.TrimSuffix(path, "/own")+query, ""); !strings.Contains(r.body, `"name":"own"`) {
				t.Errorf("%s", r.body)
			}
			b.want(412, "PUT", path+query, fmt.Sprintf(`{"properties":{"certificate":%q}}`, encode64(root.Raw)))
			b.with("If-Match", a.Etag).want(200, "DELETE", path+query, "")
			if trusted() {
				t.Error("deleted, and trusted still")
			}
			b.want(200, "PUT", path+query, fmt.Sprintf(`{"properties":{"certificate":%q,"isVerified":true}}`, encode64(root.Raw)))
			if !trusted() {
				t.Error("verified at upload, and not trusted")
			}
		})
	}
}

// trusts reports whether the service takes a chain of that CA.
func trusts(t *testing.T, cloud *sim.Cloud, cert credential, service string) bool {
	t.Helper()
	if strings.HasPrefix(service, "IotHubs") {
		cloud.CreateDevice("d", sim.Auth{})
		return knock(t, cloud, cert, hello{}) == 0
	}
	c, err := wire(t, cloud, sim.DPSHost, cert)
	if err != nil {
		t.Fatal(err)
	}
	return c.hello(hello{id: "d", user: dpsUser("d", "2019-03-31")}) == 0
}

func TestWhatTheResourceManagerRefuses(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		b := atManagement(t, cloud)
		path, query := "/subscriptions/s-1/resourceGroups/plant/providers/Microsoft.Devices/IotHubs/simhub/certificates/own", "?api-version=2023-06-30"
		browse(t, cloud, sim.ManagementHost, credential{}).want(401, "GET", path+query, "")
		b.want(400, "GET", path, "")
		b.want(404, "GET", strings.Replace(path, "simhub", "other", 1)+query, "")
		b.want(404, "GET", "/subscriptions"+query, "")
		leaf := bootstrap(t, cloud, "d").chain[0]
		for _, body := range []string{`{`, `{}`, `{"properties":{"certificate":"AAAA"}}`, fmt.Sprintf(`{"properties":{"certificate":%q}}`, encode64(leaf.Raw))} {
			if r := b.want(400, "PUT", path+query, body); !strings.Contains(r.body, `{"error":{"code":`) {
				t.Errorf("%s", r.body)
			}
		}
		if n := cloud.Refusals("own", sim.AtManagement); n != 5 {
			t.Errorf("%d refusals", n)
		}
	})
}
