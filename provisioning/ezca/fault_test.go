package ezca

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/mtls"
	"github.com/devid-agent/devid-agent/sim"
)

// story is an EZCA in a bad temper, and what is to be said about it.
type story struct {
	temper  sim.EZCATemper
	whole   sim.Temper // in place of temper, where it is set
	prepare func(w *cloudy)
	kind    fault.Kind
	after   time.Duration
	words   string // in error or hint
	first   bool   // it is the first certificate; otherwise a renewal
	asked   int    // requests for it, 1 if 0; -1 for none
}

func says(status int) sim.EZCATemper { return sim.EZCATemper{Status: status} }

func answers(a sim.EZCAAnswer) sim.EZCATemper { return sim.EZCATemper{Answer: a} }

var stories = map[string]story{
	"400":                    {temper: says(400), kind: fault.Permanent, words: "400 Bad Request: as planned | hold the renewal"},
	"400 at first":           {temper: says(400), kind: fault.Operator, words: "registered as a domain", first: true},
	"401":                    {temper: says(401), kind: fault.Operator, words: "not revoked"},
	"401 at first":           {temper: says(401), kind: fault.Operator, words: "hand over a fresh token", first: true},
	"403":                    {temper: says(403), kind: fault.Operator, words: "may renew itself"},
	"404":                    {temper: says(404), kind: fault.Operator, words: "provisioning.ezca.url and api", asked: 2},
	"404 at first":           {temper: says(404), kind: fault.Operator, words: "provisioning.ezca.url and api", first: true},
	"404 of V2":              {prepare: func(w *cloudy) { w.config.API = V2 }, temper: says(404), kind: fault.Operator, words: "RenewCertificateV2"},
	"405":                    {temper: says(405), kind: fault.Operator, words: "provisioning.ezca.url and api"},
	"408":                    {temper: says(408), kind: fault.Transient, words: "408"},
	"409":                    {temper: says(409), kind: fault.Permanent, words: "409"},
	"413":                    {temper: says(413), kind: fault.Permanent, words: "413"},
	"429 with its wait":      {temper: sim.EZCATemper{Status: 429, RetryAfter: 77 * time.Second}, kind: fault.Transient, after: 77 * time.Second, words: "429"},
	"429 without":            {temper: says(429), kind: fault.Transient, words: "429"},
	"500":                    {temper: says(500), kind: fault.Transient, words: "500"},
	"501":                    {temper: says(501), kind: fault.Operator, words: "501"},
	"502":                    {temper: says(502), kind: fault.Transient, words: "502"},
	"503 with a date":        {temper: sim.EZCATemper{Status: 503, RetryAfter: 10 * time.Minute, RetryDate: true}, kind: fault.Transient, after: 10 * time.Minute, words: "503"},
	"503 without":            {temper: says(503), kind: fault.Transient, words: "503"},
	"503 for years":          {temper: sim.EZCATemper{Status: 503, RetryAfter: 9000 * time.Hour}, kind: fault.Transient, after: 48 * time.Hour, words: "503"},
	"504":                    {temper: says(504), kind: fault.Transient, words: "504"},
	"204":                    {temper: says(204), kind: fault.Permanent, words: "204"},
	"web page":               {temper: answers(sim.EZCAPage), kind: fault.Operator, words: "captive portal"},
	"error in 200":           {temper: answers(sim.EZCAError), kind: fault.Permanent, words: "Error: the certificate authority cannot be reached"},
	"error in 200, at first": {temper: answers(sim.EZCAError), kind: fault.Operator, words: "Error: the certificate authority cannot be reached", first: true},
	"no in 200":              {temper: answers(sim.EZCAFailure), kind: fault.Permanent, words: "200 OK: the certificate authority cannot be reached"},
	"another key":            {temper: answers(sim.EZCAWrongKey), kind: fault.Permanent, words: "another key"},
	"another subject":        {temper: answers(sim.EZCAWrongSubject), kind: fault.Permanent, words: `"another-device"`},
	"another issuer":         {temper: answers(sim.EZCAWrongIssuer), kind: fault.Permanent, words: "neither in the answer nor known"},
	"expired":                {temper: answers(sim.EZCAExpired), kind: fault.Permanent, words: "expired at"},
	"of tomorrow":            {temper: answers(sim.EZCAFuture), kind: fault.Transient, after: time.Hour, words: "set the clock"},
	"names lost":             {temper: answers(sim.EZCALostNames), kind: fault.Permanent, words: "changed the alternative names"},
	"names lost at first":    {temper: answers(sim.EZCALostNames), kind: fault.Permanent, words: `asked for was "gateway-1"`, first: true},
	"the one in force":       {temper: answers(sim.EZCAOldOne), kind: fault.Permanent, words: "another key"},
	"the one in force again": {temper: answers(sim.EZCAOldOne), prepare: (*cloudy).sameKey, kind: fault.Permanent, words: "in force already"},
	"nothing":                {temper: answers(sim.EZCAEmpty), kind: fault.Permanent, words: "empty"},
	"rubbish":                {temper: answers(sim.EZCARubbish), kind: fault.Permanent, words: "-----BEGIN"},
	"truncated":              {temper: answers(sim.EZCATruncated), kind: fault.Transient, words: "hung up in the middle"},
	"slow":                   {temper: answers(sim.EZCASlow), kind: fault.Transient, words: "no answer within 1m0s"},
	"huge":                   {temper: answers(sim.EZCAHuge), kind: fault.Permanent, words: "more than 1048576 bytes"},
	"silent":                 {temper: sim.EZCATemper{Silent: 100}, kind: fault.Transient, words: "no answer within 1m0s"},
	"answer lost":            {temper: sim.EZCATemper{LostResult: 100}, kind: fault.Transient, words: "hung up"},
	"token too short":        {temper: sim.EZCATemper{TokenLife: 30 * time.Minute}, kind: fault.Operator, words: "provisioning.ezca.jwt_life to 30m"},
	"same key refused":       {temper: sim.EZCATemper{RefuseSameKey: true}, prepare: (*cloudy).sameKey, kind: fault.Permanent, words: "CSR has the key of the certificate"},
	"too early":              {temper: sim.EZCATemper{TooEarly: time.Hour}, kind: fault.Permanent, words: "too early to renew"},
	"too many days":          {prepare: func(w *cloudy) { w.config.Validity = 400 }, kind: fault.Permanent, words: "the template has 365"},
	"too many days at first": {prepare: func(w *cloudy) { w.config.Validity = 400 }, kind: fault.Operator, words: "provisioning.ezca.ca, template, validity", first: true},
	"revoked":                {prepare: func(w *cloudy) { w.cloud.EZCARevoke(device) }, kind: fault.Operator, words: "the certificate is revoked"},
	"expired in force":       {prepare: func(*cloudy) { time.Sleep(91 * 24 * time.Hour) }, kind: fault.Operator, words: "the certificate expired at"},
	"another template":       {prepare: func(w *cloudy) { w.config.Template = templateID }, kind: fault.Operator, words: "there is no CA", first: true},
	"token of nobody":        {prepare: func(w *cloudy) { w.handOver("nobody") }, kind: fault.Operator, words: "hand over a fresh token", first: true},
	"audience of another":    {prepare: func(w *cloudy) { w.config.Audience = "https://example.com" }, kind: fault.Operator, words: "the audience is"},
	"unknown root":           {prepare: func(w *cloudy) { w.config.Roots = mtls.Fixed(x509.NewCertPool()) }, kind: fault.Operator, words: "provisioning.ezca.roots", asked: -1},
	"offline":                {whole: sim.Temper{Offline: true}, kind: fault.Transient, words: "refused", asked: -1},
	"another name":           {prepare: func(w *cloudy) { w.config.URL = "https://nowhere.example" }, kind: fault.Transient, words: "no such host", asked: -1},
}

func (w *cloudy) sameKey() { w.key = w.ids.Current().Signer() }

func TestEveryFaultHasItsKindItsWaitItsWordsAndAnEnd(t *testing.T) {
	for name, s := range stories {
		t.Run(name, func(t *testing.T) { inCloud(t, s.tell) })
	}
}

func (s story) tell(w *cloudy) {
	good, next := w.config, w.key
	if !s.first {
		w.inForce(w.issue())
		next = w.key
	}
	w.temper(s.temper)
	if s.whole.Offline {
		w.cloud.SetTemper(s.whole)
	}
	if s.prepare != nil {
		s.prepare(w)
	}
	before := w.asked()
	_, err := w.issue()
	if err == nil {
		w.Fatal("it issued")
	}
	if text := err.Error() + " | " + fault.Hint(err); fault.Of(err) != s.kind || !strings.Contains(text, s.words) || fault.RetryAfter(err) != s.after {
		w.Errorf("%v, wait %v: %s", fault.Of(err), fault.RetryAfter(err), text)
	}
	if n := w.asked() - before; n != s.requests() {
		w.Errorf("%d requests for one refusal", n)
	}
	w.temper(sim.EZCATemper{})
	w.config, w.key = good, next
	s.heal(w)
}

func (s story) requests() int {
	switch s.asked {
	case 0:
		return 1
	case -1:
		return 0
	}
	return s.asked
}

// heal is what happens when the fault ends: the device recovers by itself, and where its certificate is of no use any
// more, with a new token.
func (s story) heal(w *cloudy) {
	w.handOver(w.cloud.EZCAToken())
	cur := w.ids.Current()
	if cur != nil && (time.Now().After(cur.Leaf().NotAfter) || strings.Contains(s.words, "revoked")) {
		w.wantGood(New(w.config).First().Issue(w.Context(), w.request()))
		return
	}
	w.wantGood(w.issue())
}

func TestWaitIsKeptWithinWhatTheCertificateLeavesTimeFor(t *testing.T) {
	inCloud(t, func(w *cloudy) {
		w.config.Validity = 1
		w.inForce(w.issue())
		w.temper(sim.EZCATemper{Status: 503, RetryAfter: 47 * time.Hour})
		if _, err := w.issue(); fault.RetryAfter(err) > 6*time.Hour || fault.RetryAfter(err) < 5*time.Hour {
			w.Errorf("wait %v: %v", fault.RetryAfter(err), err)
		}
	})
}

func TestRefusedRequestIsNotRepeatedFasterThanTheBackoffAllows(t *testing.T) {
	inCloud(t, func(w *cloudy) {
		w.inForce(w.issue())
		for _, temper := range []sim.EZCATemper{says(400), says(401), says(503), answers(sim.EZCAWrongKey)} {
			w.temper(temper)
			backoff, start, before := fault.Backoff{}, time.Now(), w.asked()
			for time.Since(start) < 24*time.Hour {
				_, err := w.issue()
				wait, again := backoff.Next(err)
				if !again {
					w.Fatal(err)
				}
				time.Sleep(wait)
			}
			limit := 28 // the slow cadence: an hour less a tenth
			if temper.Status == 503 {
				limit = 900 // full jitter up to five minutes
			}
			if n := w.asked() - before; n > limit {
				w.Errorf("%+v: %d requests in a day", temper, n)
			}
		}
	})
}
