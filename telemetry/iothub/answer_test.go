package iothub

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
)

func TestAnswerTopicIsReadAsAQuery(t *testing.T) {
	for topic, want := range map[string]answer{
		"$iothub/credentials/res/202/?$rid=999888777&$version=1": {status: 202, rid: "999888777"},
		"$iothub/credentials/res/200/?$version=1&$rid=a-b":       {status: 200, rid: "a-b"},
		"$iothub/credentials/res/409/?$rid=a%2Db":                {status: 409, rid: "a-b"},
	} {
		if a, ok := parseAnswer(topic, nil); !ok || a.status != want.status || a.rid != want.rid {
			t.Errorf("%s: %+v, %v", topic, a, ok)
		}
	}
	for _, topic := range []string{"", "$iothub/twin/res/200/?$rid=1", "$iothub/credentials/res/200/", "$iothub/credentials/res/x/?$rid=1", "$iothub/credentials/res/200/?$rid=%"} {
		if a, ok := parseAnswer(topic, nil); ok {
			t.Errorf("%q: %+v", topic, a)
		}
	}
}

func TestErrorBodyOfTheRealServiceIsRead(t *testing.T) {
	e := answer{status: 409, body: []byte(`{"errorCode":409004,"message":"A credential management operation is already active.","trackingId":"4A745D4B-G2:",
		"timestampUtc":"2026-01-31T00:49:39.467401528Z","retryAfter":7,"info":{"requestId":"abcd","operationExpires":"2026-01-31T12:52:20.565000000Z"}}`)}.serviceError()
	if e.Code != 409004 || e.RequestID != "abcd" || e.RetryAfter != 7*time.Second || e.TrackingID != "4A745D4B-G2:" || !e.active() {
		t.Errorf("%+v", e)
	}
	for _, body := range []string{`{"errorCode":429002,"info":null}`, ``, `[]`, `{"errorCode":"x"}`, `{"retryAfter":-3}`} {
		if e := (answer{status: 429, body: []byte(body)}).serviceError(); e.Code/1000 != 429 || e.RetryAfter != 0 {
			t.Errorf("%s: %+v", body, e)
		}
	}
}

func TestIssuedCertificatesAreReadAsDERAndAsPEM(t *testing.T) {
	key, err := keystest.Generate(keys.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	chain := keystest.NewAuthority(t).Certify(t, device, key).Certificate
	var der, armoured []string
	for _, c := range chain {
		der = append(der, base64.StdEncoding.EncodeToString(c))
		armoured = append(armoured, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c})))
	}
	for _, texts := range [][]string{der, armoured, {strings.Join(armoured, "")}} {
		body, _ := json.Marshal(map[string]any{"correlationId": "x", "certificates": texts})
		got, err := answer{status: 200, body: body}.chain()
		if err != nil || len(got) != len(chain) || got[0].Subject.CommonName != device {
			t.Errorf("%d certificates, %v", len(got), err)
		}
	}
	for _, body := range []string{``, `{}`, `{"certificates":null}`, `{"certificates":["x"]}`, `{"certificates":["-----BEGIN X"]}`, `{"certificates":["AAAA"]}`} {
		if got, err := (answer{status: 200, body: []byte(body)}).chain(); err == nil {
			t.Errorf("%s: %v", body, got)
		}
	}
}

func TestMailboxForgetsTheOldestAndFindsByRequest(t *testing.T) {
	box := newMailbox()
	for i := range mailboxSize + 3 {
		box.put(answer{rid: "other", status: i})
		if i == mailboxSize {
			box.put(answer{rid: "mine"})
		}
	}
	if _, ok := box.take("mine"); !ok {
		t.Error("a recent answer is gone")
	}
	if a, ok := box.take("other"); !ok || a.status < 3 {
		t.Errorf("%+v", a)
	}
	if _, ok := box.take("mine"); ok {
		t.Error("an answer came twice")
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add("$iothub/credentials/res/200/?$rid=a", []byte(`{"correlationId":"x","certificates":["AAAA","-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]}`))
	f.Add("$iothub/credentials/res/409/?$rid=a", []byte(`{"errorCode":409004,"retryAfter":99999999999,"info":{"requestId":"x"}}`))
	f.Add("$iothub/credentials/res/202/?$version=1&$rid=a", []byte(`null`))
	f.Add("$iothub/credentials/res/500", []byte(`{"errorCode":-1,"message":1}`))
	f.Fuzz(func(t *testing.T, topic string, body []byte) {
		a, ok := parseAnswer(topic, body)
		if !ok {
			return
		}
		if a.rid == "" {
			t.Error("an answer to nobody")
		}
		if e := a.serviceError(); e.RetryAfter < 0 || e.RetryAfter > 24*time.Hour || e.Error() == "" {
			t.Errorf("%+v", e)
		}
		if chain, err := a.chain(); err == nil && len(chain) == 0 {
			t.Error("a chain of nothing")
		}
	})
}

func FuzzPropertiesSurviveTheTopic(f *testing.F) {
	f.Add("machine")
	f.Add("a b&c=d/+#%$é\x00")
	f.Fuzz(func(t *testing.T, s string) {
		e := escape(s)
		if strings.ContainsAny(e, " &=/+#$?") {
			t.Errorf("%q becomes %q", s, e)
		}
	})
}
