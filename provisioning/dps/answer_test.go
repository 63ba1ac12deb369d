package dps

import (
	"testing"
	"time"
)

func TestTopicParametersMayStandInAnyOrder(t *testing.T) {
	for topic, want := range map[string]answer{
		"$dps/registrations/res/202/?$rid=1&retry-after=3":     {status: 202, rid: "1", after: 3 * time.Second},
		"$dps/registrations/res/202/?retry-after=120&$rid=a-b": {status: 202, rid: "a-b", after: 2 * time.Minute},
		"$dps/registrations/res/200/?$rid=1&$version=1":        {status: 200, rid: "1"},
		"$dps/registrations/res/429/?$rid=1&retry-after=-5":    {status: 429, rid: "1"},
		"$dps/registrations/res/429/?$rid=1&retry-after=1.5":   {status: 429, rid: "1"},
	} {
		a, ok := parseAnswer(topic, nil)
		if !ok || a.status != want.status || a.rid != want.rid || a.after != want.after {
			t.Errorf("%s: %+v, %v", topic, a, ok)
		}
	}
	for _, topic := range []string{"", "$dps/registrations/res/", "$dps/registrations/res/x/?$rid=1", "$iothub/x", "$dps/registrations/res/99999/?$rid=1"} {
		if a, ok := parseAnswer(topic, nil); ok {
			t.Errorf("%q: %+v", topic, a)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add("$dps/registrations/res/200/?$rid=1", []byte(`{"operationId":"4.d0","status":"assigned","registrationState":{"assignedHub":"h","deviceId":"d","issuedCertificateChain":null}}`))
	f.Add("$dps/registrations/res/401/?$rid=1", []byte(`{"errorCode":401002,"trackingId":"8a","message":"Invalid certificate.","timestampUtc":"2020-04-10T05:24:22.4718526Z"}`))
	f.Add("$dps/registrations/res/202/?retry-after=99999999999999999999&$rid=1", []byte(`{"status":"assigning"}`))
	f.Add("$dps/registrations/res/200/?$rid=%", []byte(`{"status":"failed","registrationState":{"errorCode":-1,"issuedCertificateChain":["AAAA"]}}`))
	f.Fuzz(func(t *testing.T, topic string, body []byte) {
		a, ok := parseAnswer(topic, body)
		if !ok {
			return
		}
		if a.after < 0 || a.after > 24*time.Hour {
			t.Errorf("retry-after %v", a.after)
		}
		_ = a.serviceError().Error()
		o, err := a.operation()
		if err != nil {
			return
		}
		done, err := (&registration{proof: &byCertificate{}}).finished(o)
		if done && err == nil && (o.State.AssignedHub == "" || o.State.DeviceID == "") {
			t.Errorf("assigned to nowhere: %s", body)
		}
		for _, speech := range speeches {
			if speech.issued == nil {
				continue
			}
			if chain, err := speech.chain(o.State); err == nil && len(chain) == 0 {
				t.Error("a chain of nothing")
			}
		}
	})
}
