package sim_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

func TestTheTemperIsReadAndChangedFromOutside(t *testing.T) {
	c := controlledCloud(t, "")
	c.want("PUT", "/v1/temper", `{"LostAck":7,"ezca":{"status":503,"RetryAfter":"90s","Answer":"empty-root"}}`, 200, `"LostAck":7`)
	c.want("PATCH", "/v1/temper", `{"Latency":"50ms","EZCA":{"StatusTimes":2}}`, 200, `"Status":503,"StatusTimes":2`)
	for _, wrong := range []string{`{"Fault":1}`, `{"EZCA":5}`, `{"LostAck":{}}`, `{"Lost":1}`, `{"Latency":5}`, `{"EZCA":{"Answer":"maybe"}}`, `[]`, `{`} {
		c.want("PATCH", "/v1/temper", wrong, 400, "error")
	}
	all := c.want("GET", "/v1/temper", "", 200, `"Latency":"50ms"`)
	again, err := sim.ParseTemper([]byte(all))
	if err != nil || again.LostAck != 7 || again.EZCA.Answer != sim.EZCAEmptyRoot || again.EZCA.RetryAfter != 90*time.Second {
		t.Errorf("%v %+v", err, again)
	}
	c.want("PUT", "/v1/temper", `{}`, 200, `{}`)
	full := c.want("GET", "/v1/temper?all=true", "", 200, `"LostAck":0`)
	if none, err := sim.ParseTemper([]byte(full)); err != nil || len(none.JSON()) > len("{}\n") {
		t.Errorf("%v %s", err, none.JSON())
	}
}

func TestASettingOfTheTemperHasAName(t *testing.T) {
	var temper sim.Temper
	for name, value := range map[string]string{"lostack": "7", "EZCA.EST.Pending": "2", "est.answer": "page", "OldCert": "dies-connect", "EST.Attributes": "MAA="} {
		if err := temper.Set(name, value); err != nil {
			t.Error(err)
		}
	}
	if temper.LostAck != 7 || temper.EZCA.EST.Pending != 2 || temper.EST.Answer != sim.ESTPage || temper.OldCert != sim.OldCertDiesAtConnect || len(temper.EST.Attributes) != 2 {
		t.Errorf("%+v", temper)
	}
	for name, value := range map[string]string{"EST": "x", "EST.Page": "1", "LostAck.x": "1", "Fault": "x", "EST.Answer": "17"} {
		if err := temper.Set(name, value); err == nil {
			t.Errorf("%s=%s was taken", name, value)
		}
	}
}

func FuzzTheControlAPIAnswersWhateverComes(f *testing.F) {
	c, err := sim.New(sim.Temper{}, func(p *sim.Policy) { p.ECDSAServer = true })
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { c.Close() })
	handler := c.ControlHandler("")
	f.Add("PUT", "/v1/devices/d", []byte(`{"keys":["a2V5"]}`))
	f.Add("PUT", "/v1/devices/d%2Fm", []byte(`{"thumbprints":["00"]}`))
	f.Add("PATCH", "/v1/devices/d/desired", []byte(`{"a":{"b":null}}`))
	f.Add("POST", "/v1/devices/d/messages", []byte(`{"text":"x","life":"1m"}`))
	f.Add("POST", "/v1/devices/d/methods/m?timeout=1ms", []byte(`{}`))
	f.Add("PUT", "/v1/enrollments/e", []byte(`{"group":true,"ca":"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"}`))
	f.Add("PATCH", "/v1/temper", []byte(`{"EST":{"Pending":1},"Latency":"1s"}`))
	f.Add("GET", "/v1/events?after=-1", []byte(nil))
	f.Fuzz(func(t *testing.T, method, path string, body []byte) {
		if strings.Contains(path, "follow") {
			return // that answer has no end
		}
		r, err := http.NewRequest(method, "http://control", bytes.NewReader(body))
		if err != nil {
			return
		}
		if r.URL, err = r.URL.Parse(path); err != nil {
			return
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if kind := w.Header().Get("Content-Type"); strings.HasPrefix(kind, "application/json") && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
		}
		if w.Code >= 500 && w.Code != 504 {
			t.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
		}
		if t2, err := sim.ParseTemper(body); err == nil {
			again, err := sim.ParseTemper(t2.JSON())
			if err != nil || !bytes.Equal(again.JSON(), t2.JSON()) {
				t.Errorf("%v: %s", err, t2.JSON())
			}
		}
	})
}

func TestEveryFieldOfTheTemperCanBeSetByWhatIsShown(t *testing.T) {
	var none sim.Temper
	c := controlledCloud(t, "")
	var check func(path string, members map[string]any)
	check = func(path string, members map[string]any) {
		for name, value := range members {
			inner, ok := value.(map[string]any)
			if ok {
				check(path+name+".", inner)
			} else if err := none.Set(path+name, fmt.Sprint(value)); err != nil {
				t.Error(err)
			}
		}
	}
	var all map[string]any
	if err := json.Unmarshal([]byte(c.want("GET", "/v1/temper?all=true", "", 200, "")), &all); err != nil {
		t.Fatal(err)
	}
	check("", all)
}
