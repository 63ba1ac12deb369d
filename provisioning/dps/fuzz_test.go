package dps

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

// FuzzHTTP lets a service answer anything over HTTPS: nothing panics, and what follows is one of three things.
func FuzzHTTP(f *testing.F) {
	f.Add(202, "3", []byte(`{"operationId":"5.316aac5bdc130deb.b1e02da8-c3a0-4ff2-a121-7ea7a6b7f550","status":"assigning"}`))
	f.Add(200, "", []byte(assigned))
	f.Add(401, "", []byte(`{"authenticationKey":"AAAA","keyName":"registration"}`))
	f.Add(429, "99999999999", []byte(`{"errorCode":429001,"message":"Slow."}`))
	f.Add(503, "Fri, 31 Dec 1999 23:59:59 GMT", []byte(`<html>`))
	f.Fuzz(func(t *testing.T, status int, after string, body []byte) {
		if status < 100 || status > 599 {
			return
		}
		c := New(Config{IDScope: "0ne", TPM: &box{}})
		r := c.registration(device, &byTPM{tpm: &box{}, id: device})
		a := answer{status: status, after: seconds(after), body: body}
		delay, end, err := time.Duration(0), (*state)(nil), error(nil)
		if status == http.StatusUnauthorized {
			delay, end, err = r.unauthorized(t.Context(), a)
		} else {
			delay, end, err = r.judge(a)
		}
		switch {
		case delay < 0 || delay > 24*time.Hour:
			t.Errorf("a delay of %v", delay)
		case end != nil && err == nil && (end.AssignedHub == "" || end.DeviceID == ""):
			t.Error("assigned to nowhere")
		case end == nil && err == nil && status < 300 && checkOperation(r.operation) != nil:
			t.Errorf("operation %q", r.operation)
		case err != nil && fault.Of(err) == fault.Transient && status < 300 && end == nil:
			t.Errorf("a final answer would be asked for again: %v", err)
		}
	})
}

func FuzzChallenge(f *testing.F) {
	f.Add([]byte(`{"message":"Authorization required","authenticationKey":"AAAA","keyName":"registration"}`))
	f.Add([]byte(`{"authenticationKey":"AA=="}`))
	f.Add([]byte(`{"authenticationKey":1}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		blob, name, ok := parseChallenge(body)
		if ok && (len(blob) == 0 || name == "") || !ok && blob != nil {
			t.Errorf("%x, %q, %v", blob, name, ok)
		}
	})
}

func FuzzTrustBundle(f *testing.F) {
	f.Add([]byte(`{"certificates":[{"certificate":"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n","metadata":{}}],"id":"x"}`))
	f.Add([]byte(`{"certificates":[{"certificate":"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"}]}`))
	f.Add([]byte(`{"certificates":[{},{"certificate":"x"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var b bundle
		if json.Unmarshal(body, &b) != nil {
			return
		}
		all, err := b.parse()
		if err != nil && all != nil {
			t.Error("half a bundle")
		}
		for _, cert := range all {
			if cert == nil {
				t.Error("no certificate")
			}
		}
	})
}
