package sim_test

import (
	"crypto/ecdh"
	"crypto/elliptic"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/devid-agent/devid-agent/sim"
)

const (
	enrollVersion = "?api-version=2021-10-01"
	policyVersion = "?api-version=2025-07-01-preview"
	stableVersion = "?api-version=2026-11-01"
)

func atService(t *testing.T, cloud *sim.Cloud) *browser {
	t.Helper()
	return browse(t, cloud, sim.DPSServiceHost, credential{}).ofPolicy(cloud.DPSConnectionString())
}

func TestIndividualEnrollmentsOfEveryKindLetTheirDeviceIn(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		cloud.RemoveEnrollments()
		b := atService(t, cloud)
		own, chip := foreign(t, "by-cert"), newChip(t, newPoint(t, ecdh.P256()), newPoint(t, ecdh.P256()))
		for id, attestation := range map[string]string{
			"by-cert": fmt.Sprintf(`{"type":"x509","x509":{"clientCertificates":{"primary":{"certificate":%q}}}}`, encode64(own.chain[0].Raw)),
			"by-tpm":  fmt.Sprintf(`{"type":"tpm","tpm":{"endorsementKey":%q}}`, encode64(chip.ek.public)),
			"by-key":  `{"type":"symmetricKey"}`,
		} {
			r := b.want(200, "PUT", "/enrollments/"+id+enrollVersion, fmt.Sprintf(`{"registrationId":%q,"deviceId":"dev-%s","attestation":%s,"capabilities":{"iotEdge":false}}`, id, id, attestation))
			for _, part := range []string{`"provisioningStatus":"enabled"`, `"etag":`, `"createdDateTimeUtc":`, `"capabilities":{"iotEdge":false}`, `"type":`} {
				if !strings.Contains(r.body, part) {
					t.Errorf("%s has no %s", r.body, part)
				}
			}
		}
		atDPS(t, cloud, "by-cert", "2019-03-31", own).enroll("")
		chip.challenged(browse(t, cloud, sim.DPSHost, credential{}), "by-tpm", "2019-03-31")
		r := b.want(200, "GET", "/enrollments/by-key"+enrollVersion, "")
		if strings.Contains(r.body, `"primaryKey":"`) {
			t.Errorf("GET tells the key: %s", r.body)
		}
		var mechanism struct {
			SymmetricKey struct{ PrimaryKey, SecondaryKey string }
		}
		b.want(200, "POST", "/enrollments/by-key/attestationmechanism"+enrollVersion, "").into(t, &mechanism)
		key, err := base64.StdEncoding.DecodeString(mechanism.SymmetricKey.SecondaryKey)
		if err != nil || len(key) < 16 {
			t.Fatalf("%+v", mechanism)
		}
		d := browse(t, cloud, sim.DPSHost, credential{}).with("Authorization", token(sim.IDScope+"/registrations/by-key", "registration", key))
		if r, op := d.register("by-key", "2019-03-31", `{"registrationId":"by-key"}`); op.Status != "assigned" {
			t.Errorf("%d %s", r.status, r.body)
		}
		r = b.want(200, "GET", "/registrations/by-key"+enrollVersion, "")
		if !strings.Contains(r.body, `"deviceId":"dev-by-key"`) || !strings.Contains(r.body, `"status":"assigned"`) {
			t.Errorf("%s", r.body)
		}
		b.want(204, "DELETE", "/registrations/by-key"+enrollVersion, "")
		b.want(404, "GET", "/registrations/by-key"+enrollVersion, "")
		b.want(204, "DELETE", "/enrollments/by-key"+enrollVersion, "")
		b.want(404, "GET", "/enrollments/by-key"+enrollVersion, "")
		d.want(401, "PUT", "/"+sim.IDScope+"/registrations/by-key/register?api-version=2019-03-31", `{"registrationId":"by-key"}`)
	})
}

func TestGroupsLetTheirDevicesIn(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		cloud.RemoveEnrollments()
		b := atService(t, cloud)
		cert := bootstrap(t, cloud, "gw-1")
		c := atDPS(t, cloud, "gw-1", "2019-03-31", cert)
		if status, _, _, _ := c.register(""); status != 404 {
			t.Errorf("before: %d", status)
		}
		b.want(200, "PUT", "/enrollmentGroups/line-1"+enrollVersion, fmt.Sprintf(`{"enrollmentGroupId":"line-1","attestation":{"type":"x509","x509":{"signingCertificates":{"primary":{"certificate":%q}}}}}`, encode64(cert.chain[1].Raw)))
		if raw, s := c.enroll(""); s.Status != "assigned" || !strings.Contains(raw, `"enrollmentGroupId":"line-1"`) {
			t.Errorf("%s", raw)
		}
		// an intermediate CA is no root: what it signed must lead to a verified one
		other := foreign(t, "gw-2")
		b.want(200, "PUT", "/enrollmentGroups/line-2"+enrollVersion, fmt.Sprintf(`{"enrollmentGroupId":"line-2","attestation":{"type":"x509","x509":{"signingCertificates":{"primary":{"certificate":%q}}}}}`, encode64(other.chain[1].Raw)))
		w, err := wire(t, cloud, sim.DPSHost, other)
		if err != nil {
			t.Fatal(err)
		}
		if code := w.hello(hello{id: "gw-2", user: dpsUser("gw-2", "2019-03-31")}); code != 5 {
			t.Errorf("an unverified root: CONNACK %d", code)
		}
		cloud.VerifyCA("theirs", other.chain[2])
		atDPS(t, cloud, "gw-2", "2019-03-31", other).enroll("")
		b.with("If-Match", "*").want(200, "PUT", "/enrollmentGroups/line-2"+enrollVersion, `{"enrollmentGroupId":"line-2","attestation":{"type":"x509","x509":{"caReferences":{"primary":"theirs"}}}}`)
		atDPS(t, cloud, "gw-2", "2019-03-31", other).enroll("")
		b.want(400, "PUT", "/enrollmentGroups/line-3"+enrollVersion, `{"enrollmentGroupId":"line-3","attestation":{"type":"x509","x509":{"caReferences":{"primary":"nobody's"}}}}`)

		group := []byte("the group's key, also thirty-two")
		b.want(200, "PUT", "/enrollmentGroups/keys"+enrollVersion, fmt.Sprintf(`{"enrollmentGroupId":"keys","attestation":{"type":"symmetricKey","symmetricKey":{"primaryKey":%q,"secondaryKey":%q}}}`, encode64(group), encode64(make([]byte, 32))))
		d := browse(t, cloud, sim.DPSHost, credential{}).with("Authorization", token(sim.IDScope+"/registrations/k-1", "registration", sim.DerivedKey(group, "k-1")))
		d.register("k-1", "2019-03-31", `{"registrationId":"k-1"}`)
		var states []state
		r := b.want(200, "POST", "/registrations/KEYS/query"+enrollVersion, "")
		if r.into(t, &states); len(states) != 1 || states[0].RegistrationID != "k-1" || states[0].AssignedHub != sim.HubHost {
			t.Errorf("%s", r.body)
		}
		b.want(404, "POST", "/registrations/none/query"+enrollVersion, "")
		b.want(204, "DELETE", "/enrollmentGroups/line-1"+enrollVersion, "")
		if status, _, _, _ := c.register(""); status != 404 {
			t.Errorf("after: %d", status)
		}
	})
}

func TestEnrollmentsAreQueriedPageByPage(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		b := atService(t, cloud)
		for i := range 5 {
			b.want(200, "PUT", fmt.Sprintf("/enrollments/e-%d", i)+enrollVersion, fmt.Sprintf(`{"registrationId":"e-%d","attestation":{"type":"symmetricKey"}}`, i))
		}
		q := b.with("x-ms-max-item-count", "2")
		var seen []string
		for pages := 1; ; pages++ {
			r := q.want(200, "POST", "/enrollments/query"+enrollVersion, `{"query":"SELECT * FROM enrollments"}`)
			var page []struct{ RegistrationID string }
			r.into(t, &page)
			for _, e := range page {
				seen = append(seen, e.RegistrationID)
			}
			next := r.header.Get("x-ms-continuation")
			if next == "" || pages > 3 {
				break
			}
			q = q.with("x-ms-continuation", next)
		}
		if fmt.Sprint(seen) != "[e-0 e-1 e-2 e-3 e-4]" {
			t.Errorf("%v", seen)
		}
		if r := b.want(200, "POST", "/enrollmentGroups/query"+enrollVersion, `{"query":"select * from enrollmentGroups"}`); !strings.Contains(r.body, `"enrollmentGroupId":"group-`) || r.header.Get("x-ms-item-type") != "EnrollmentGroup" {
			t.Errorf("%s", r.body)
		}
		b.want(400, "POST", "/enrollments/query"+enrollVersion, `{"query":"SELECT * FROM devices"}`)
		b.with("x-ms-continuation", "x").want(400, "POST", "/enrollments/query"+enrollVersion, `{"query":"SELECT * FROM enrollments"}`)
	})
}

func TestWhatTheServiceAPIRefuses(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		b := atService(t, cloud)
		key := `"attestation":{"type":"symmetricKey"}`
		for name, c := range map[string]struct{ path, body string }{
			"other ID":          {"/enrollments/x" + enrollVersion, `{"registrationId":"y",` + key + `}`},
			"no attestation":    {"/enrollments/x" + enrollVersion, `{"registrationId":"x"}`},
			"a TPM of a group":  {"/enrollmentGroups/x" + enrollVersion, `{"enrollmentGroupId":"x","attestation":{"type":"tpm","tpm":{"endorsementKey":"AAA="}}}`},
			"not a key":         {"/enrollments/x" + enrollVersion, `{"registrationId":"x","attestation":{"type":"tpm","tpm":{"endorsementKey":"AAA="}}}`},
			"type without body": {"/enrollments/x" + enrollVersion, `{"registrationId":"x","attestation":{"type":"x509"}}`},
			"unknown member":    {"/enrollments/x" + enrollVersion, `{"registrationId":"x","provisionStatus":"enabled",` + key + `}`},
			"policy too early":  {"/enrollments/x" + enrollVersion, `{"registrationId":"x","credentialPolicyName":"p",` + key + `}`},
			"policy by halves":  {"/enrollments/x" + stableVersion, `{"registrationId":"x","certificatePolicyName":"p",` + key + `}`},
			"policy's old name": {"/enrollments/x" + stableVersion, `{"registrationId":"x","credentialPolicyName":"p",` + key + `}`},
			"another hub":       {"/enrollments/x" + enrollVersion, `{"registrationId":"x","iotHubHostName":"h",` + key + `}`},
			"status":            {"/enrollments/x" + enrollVersion, `{"registrationId":"x","provisioningStatus":"on",` + key + `}`},
			"no version":        {"/enrollments/x", `{"registrationId":"x",` + key + `}`},
			"not JSON":          {"/enrollments/x" + enrollVersion, `{`},
		} {
			var no operation
			r := b.do("PUT", c.path, c.body)
			if r.into(t, &no); r.status != 400 || no.ErrorCode/1000 != 400 || no.TrackingID == "" || r.header.Get("x-ms-error-code") == "" {
				t.Errorf("%s: %d %s", name, r.status, r.body)
			}
		}
		var e struct{ Etag string }
		b.want(200, "PUT", "/enrollments/x"+enrollVersion, `{"registrationId":"x",`+key+`}`).into(t, &e)
		b.want(409, "PUT", "/enrollments/x"+enrollVersion, `{"registrationId":"x",`+key+`}`)
		b.with("If-Match", "old").want(412, "PUT", "/enrollments/x"+enrollVersion, `{"registrationId":"x",`+key+`}`)
		b.with("If-Match", "old").want(412, "DELETE", "/enrollments/x"+enrollVersion, "")
		b.with("If-Match", e.Etag).want(200, "PUT", "/enrollments/X"+enrollVersion, `{"registrationId":"x","provisioningStatus":"disabled",`+key+`}`)
		b.with("If-Match", "*").want(404, "PUT", "/enrollments/y"+enrollVersion, `{"registrationId":"y",`+key+`}`)
		none := browse(t, cloud, sim.DPSServiceHost, credential{})
		none.want(401, "GET", "/enrollments/x"+enrollVersion, "")
		read := none.ofPolicy(cloud.DPSPolicy("enrollmentread"))
		read.want(200, "GET", "/enrollments/x"+enrollVersion, "")
		read.want(401, "DELETE", "/enrollments/x"+enrollVersion, "")
		none.ofPolicy(cloud.HubConnectionString()).want(401, "GET", "/enrollments/x"+enrollVersion, "")
		b.want(404, "GET", "/nothing"+enrollVersion, "")
	})
}

func TestOnlyALinkedPolicyIssuesCertificates(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		b := atService(t, cloud)
		key := []byte("the device's key has 32 bytes...")
		attestation := fmt.Sprintf(`"attestation":{"type":"symmetricKey","symmetricKey":{"primaryKey":%q,"secondaryKey":%q}}`, encode64(key), encode64(key))
		for i, c := range []struct {
			version, link string
			issues        bool
		}{
			{policyVersion, "", false},
			{policyVersion, `"credentialPolicyName":"default",`, true},
			{stableVersion, `"namespaceName":"n","certificateAuthorityName":"ca","certificatePolicyName":"p",`, true},
		} {
			id := fmt.Sprintf("e-%d", i)
			r := b.want(200, "PUT", "/enrollments/"+id+c.version, fmt.Sprintf(`{"registrationId":%q,%s%s}`, id, c.link, attestation))
			if link := strings.TrimSuffix(c.link, ","); c.version == policyVersion && !strings.Contains(r.body, link) {
				t.Errorf("%s has no %s", r.body, link)
			}
			d := browse(t, cloud, sim.DPSHost, credential{}).with("Authorization", token(sim.IDScope+"/registrations/"+id, "registration", key))
			r, op := d.register(id, newDPS, fmt.Sprintf(`{"registrationId":%q,"csr":%q}`, id, csr(t, id, newKey(t, elliptic.P384()))))
			if (len(op.RegistrationState.Chain) == 3) != c.issues {
				t.Errorf("%s: %s", c.link, r.body)
			}
		}
	})
}

func TestAnInitialTwinIsWhereANewDeviceBegins(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		key := []byte("the device's key has 32 bytes...")
		body := `{"registrationId":"d","attestation":{"type":"symmetricKey","symmetricKey":{"primaryKey":%[1]q,"secondaryKey":%[1]q}},"initialTwin":{"properties":{"desired":{"rate":%[2]d}}}}`
		b := atService(t, cloud)
		d := browse(t, cloud, sim.DPSHost, credential{}).with("Authorization", token(sim.IDScope+"/registrations/d", "registration", key))
		for rate := 1; rate < 3; rate++ {
			b.with("If-Match", "*").do("DELETE", "/enrollments/d"+enrollVersion, "")
			b.want(200, "PUT", "/enrollments/d"+enrollVersion, fmt.Sprintf(body, encode64(key), rate))
			d.register("d", "2019-03-31", `{"registrationId":"d"}`)
			if twin := string(cloud.Twin("d")); !strings.Contains(twin, `"rate":1`) {
				t.Errorf("%s", twin)
			}
		}
	})
}
