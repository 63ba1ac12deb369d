package est

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/mtls"
	"github.com/devid-agent/devid-agent/sim"
)

// story is a server in a bad temper, and what is to be said about it.
type story struct {
	temper  sim.Temper
	prepare func(w *world)
	kind    fault.Kind
	after   time.Duration
	words   string // in error or hint
	renew   bool   // the device has a certificate already, and the temper comes after it
}

func est(t sim.ESTTemper) sim.Temper { return sim.Temper{EST: t} }

func answered(status int) sim.Temper { return est(sim.ESTTemper{Status: status}) }

var stories = map[string]story{
	"400":                        {temper: answered(400), kind: fault.Permanent, words: "as planned"},
	"401":                        {temper: answered(401), kind: fault.Operator, words: "bootstrap certificate"},
	"401 at renewal":             {temper: answered(401), kind: fault.Operator, words: "not revoked", renew: true},
	"403":                        {temper: answered(403), kind: fault.Operator, words: "may enroll"},
	"403 at renewal":             {temper: answered(403), kind: fault.Operator, words: "may renew", renew: true},
	"404":                        {temper: answered(404), kind: fault.Operator, words: "url and label"},
	"404 of cacerts":             {temper: est(sim.ESTTemper{InfoStatus: 404}), kind: fault.Operator, words: "url and label"},
	"408":                        {temper: answered(408), kind: fault.Transient, words: "408"},
	"409":                        {temper: answered(409), kind: fault.Permanent, words: "409"},
	"413":                        {temper: answered(413), kind: fault.Permanent, words: "413"},
	"415":                        {temper: answered(415), kind: fault.Permanent, words: "415"},
	"422":                        {temper: answered(422), kind: fault.Permanent, words: "422"},
	"429 with its wait":          {temper: est(sim.ESTTemper{Status: 429, RetryAfter: 77 * time.Second}), kind: fault.Transient, after: 77 * time.Second, words: "429"},
	"429 without":                {temper: answered(429), kind: fault.Transient, words: "429"},
	"500":                        {temper: answered(500), kind: fault.Transient, words: "500"},
	"501":                        {temper: answered(501), kind: fault.Operator, words: "501"},
	"502":                        {temper: answered(502), kind: fault.Transient, words: "502"},
	"503 with a date":            {temper: est(sim.ESTTemper{Status: 503, RetryAfter: 10 * time.Minute, RetryDate: true}), kind: fault.Transient, after: 10 * time.Minute, words: "503"},
	"503 without":                {temper: answered(503), kind: fault.Transient, words: "503"},
	"503 of cacerts":             {temper: est(sim.ESTTemper{InfoStatus: 503, RetryAfter: time.Minute}), kind: fault.Transient, after: time.Minute, words: "cacerts"},
	"204":                        {temper: answered(204), kind: fault.Permanent, words: "204"},
	"web page":                   {temper: est(sim.ESTTemper{Answer: sim.ESTPage}), kind: fault.Operator, words: "captive portal"},
	"web page as cacerts":        {temper: est(sim.ESTTemper{Info: sim.ESTPage}), kind: fault.Operator, words: "captive portal"},
	"another key":                {temper: est(sim.ESTTemper{Answer: sim.ESTWrongKey}), kind: fault.Permanent, words: "another key"},
	"another subject":            {temper: est(sim.ESTTemper{Answer: sim.ESTWrongSubject}), kind: fault.Permanent, words: `"another-device"`},
	"another issuer":             {temper: est(sim.ESTTemper{Answer: sim.ESTWrongIssuer}), kind: fault.Permanent, words: "cacerts"},
	"expired":                    {temper: est(sim.ESTTemper{Answer: sim.ESTExpired}), kind: fault.Permanent, words: "expired at"},
	"the certificate in force":   {temper: est(sim.ESTTemper{Answer: sim.ESTOldOne}), kind: fault.Permanent, words: "another key", renew: true},
	"nothing":                    {temper: est(sim.ESTTemper{Answer: sim.ESTEmpty}), kind: fault.Permanent, words: "empty"},
	"an envelope with nothing":   {temper: est(sim.ESTTemper{Answer: sim.ESTNoCerts}), kind: fault.Permanent, words: "no certificates"},
	"cacerts with nothing":       {temper: est(sim.ESTTemper{Info: sim.ESTNoCerts}), kind: fault.Permanent, words: "no certificates"},
	"rubbish":                    {temper: est(sim.ESTTemper{Answer: sim.ESTRubbish}), kind: fault.Permanent, words: "read the answer"},
	"megabytes":                  {temper: est(sim.ESTTemper{Answer: sim.ESTHuge}), kind: fault.Permanent, words: "more than"},
	"text/plain":                 {temper: est(sim.ESTTemper{Answer: sim.ESTWrongType}), kind: fault.Permanent, words: `"text/plain"`},
	"cut in the middle":          {temper: est(sim.ESTTemper{Answer: sim.ESTTruncated}), kind: fault.Transient, words: "in the middle"},
	"cacerts cut in the middle":  {temper: est(sim.ESTTemper{Info: sim.ESTTruncated}), kind: fault.Transient, words: "in the middle"},
	"redirect to another host":   {temper: est(sim.ESTTemper{RedirectTo: "https://evil.example"}), kind: fault.Operator, words: "https://evil.example"},
	"redirect to plain HTTP":     {temper: est(sim.ESTTemper{RedirectTo: "http://" + sim.ESTHost}), kind: fault.Operator, words: "http://" + sim.ESTHost},
	"redirect to another port":   {temper: est(sim.ESTTemper{RedirectTo: "https://" + sim.ESTHost + ":8443"}), kind: fault.Operator, words: ":8443"},
	"bootstrap of another":       {prepare: func(w *world) { w.boot(w.factory("gateway-2")) }, kind: fault.Operator, words: `"gateway-2" may not enroll`},
	"unknown bootstrap CA":       {prepare: (*world).foreign, kind: fault.Operator, words: "trusts its CA"},
	"unknown bootstrap CA, TLS":  {temper: sim.Temper{RefuseInHandshake: true}, prepare: (*world).foreign, kind: fault.Operator, words: "alert 48"},
	"expired bootstrap":          {prepare: func(*world) { time.Sleep(400 * 24 * time.Hour) }, kind: fault.Operator, words: "in date"},
	"expired bootstrap, TLS":     {temper: sim.Temper{RefuseInHandshake: true}, prepare: func(*world) { time.Sleep(400 * 24 * time.Hour) }, kind: fault.Operator, words: "alert 45"},
	"expired bootstrap, TLS 1.2": {temper: sim.Temper{RefuseInHandshake: true, TLS12Only: true}, prepare: func(*world) { time.Sleep(400 * 24 * time.Hour) }, kind: fault.Operator, words: "alert 45"},
	"expired at renewal":         {prepare: func(*world) { time.Sleep(31 * 24 * time.Hour) }, kind: fault.Operator, words: "the certificate in force", renew: true},
	"wrong password":             {prepare: (*world).stranger, kind: fault.Operator, words: `user "nobody"`},
	"empty password":             {prepare: (*world).speechless, kind: fault.Operator, words: "password_file"},
	"curve not certified":        {prepare: func(w *world) { w.cloud.SetPolicy(func(p *sim.Policy) { p.P384Only = true }) }, kind: fault.Permanent, words: "P-256"},
	"wrong name of the server":   {prepare: (*world).misnamed, kind: fault.Operator, words: "url names ca.example"},
	"unknown root of the server": {prepare: func(w *world) { w.config.Roots = mtls.Fixed(x509.NewCertPool()) }, kind: fault.Operator, words: "provisioning.est.roots"},
	"server without TLS":         {prepare: func(w *world) { w.config.Dial = w.plain }, kind: fault.Operator, words: "does not speak TLS"},
	"no such host":               {prepare: func(w *world) { w.config.URL = "https://nowhere.example" }, kind: fault.Transient, words: "no such host"},
}

func TestEveryFaultHasItsKindItsWaitItsWordsAndAnEnd(t *testing.T) {
	for name, s := range stories {
		t.Run(name, func(t *testing.T) { inWorld(t, sim.ESTTemper{}, s.tell) })
	}
}

func (s story) tell(w *world) {
	good := w.config
	if s.renew {
		w.inForce(w.issue())
	}
	w.cloud.SetTemper(s.temper)
	if s.prepare != nil {
		s.prepare(w)
	}
	w.client = nil
	before := w.cloud.ESTCount(device)
	_, err := w.issue()
	if err == nil {
		w.Fatal("it issued")
	}
	if text := err.Error() + " | " + fault.Hint(err); fault.Of(err) != s.kind || !strings.Contains(text, s.words) || fault.RetryAfter(err) != s.after {
		w.Errorf("%v, wait %v: %s", fault.Of(err), fault.RetryAfter(err), text)
	}
	after := w.cloud.ESTCount(device)
	if n := after.Enrolled + after.Reenrolled - before.Enrolled - before.Reenrolled; n > 2 || n > 1 && !s.renew {
		w.Errorf("%d requests for one refusal", n)
	}
	s.heal(w, good)
}

// heal ends the fault; the device recovers by itself.
func (s story) heal(w *world, good Config) {
	w.cloud.SetTemper(sim.Temper{})
	w.cloud.SetPolicy(func(p *sim.Policy) { p.P384Only = false })
	w.config, w.client = good, nil
	w.boot(w.factory(device))
	if cur := w.ids.Current(); cur != nil && time.Now().After(cur.Leaf().NotAfter) {
		w.wantChain(New(w.config).First().Issue(w.Context(), w.request()))
		return
	}
	w.wantChain(w.issue())
}

func (w *world) boot(c tls.Certificate) {
	w.config.Bootstrap = func(context.Context) (tls.Certificate, error) { return c, nil }
}

// foreign is a bootstrap certificate of a factory that the CA does not know.
func (w *world) foreign() {
	other, err := sim.New(sim.Temper{}, func(p *sim.Policy) { p.ECDSAServer = true })
	if err != nil {
		w.Fatal(err)
	}
	defer other.Close()
	mine := w.cloud
	w.cloud = other
	w.boot(w.factory(device))
	w.cloud = mine
}

func (w *world) stranger() {
	w.config.Bootstrap = nil
	w.config.Username, w.config.Password = "nobody", func() (string, error) { return "guess", nil }
}

func (w *world) speechless() {
	w.stranger()
	w.config.Password = func() (string, error) { return "", nil }
}

// misnamed reaches the server under a name that is not in its certificate.
func (w *world) misnamed() {
	w.config.URL = "https://ca.example"
	w.config.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return w.cloud.Dial(ctx, network, sim.ESTHost+":443")
	}
}

// plain is a server that answers in plain HTTP.
func (w *world) plain(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	go func() {
		far.Read(make([]byte, 4096))
		far.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
		far.Close()
	}()
	return near, nil
}

func TestRedirectOnTheSameHostIsFollowedAsTheSameRequest(t *testing.T) {
	inWorld(t, sim.ESTTemper{RedirectTo: "https://" + sim.ESTHost}, func(w *world) {
		w.wantChain(w.issue())
		w.cloud.SetTemper(est(sim.ESTTemper{RedirectTo: "https://" + sim.ESTHost, RedirectCode: 302}))
		if _, err := w.issue(); fault.Of(err) != fault.Permanent || !strings.Contains(err.Error(), "POST as a GET") {
			w.Errorf("%v: %v", fault.Of(err), err)
		}
	})
}

func TestCredentialIsNotTakenToAnotherHost(t *testing.T) {
	inWorld(t, sim.ESTTemper{RedirectTo: "https://evil.example"}, func(w *world) {
		w.cloud.ESTUser("line-3", "s3cret")
		w.stranger()
		w.config.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if strings.HasPrefix(address, "evil") {
				w.Error("dialled")
			}
			return w.cloud.Dial(ctx, network, address)
		}
		w.issue()
	})
}

func TestServerThatIsBusyAtTheWishesIsLeftInPeace(t *testing.T) {
	for status, wait := range map[int]time.Duration{503: time.Minute, 429: 2 * time.Minute} {
		busy := sim.Temper{Fault: func(p sim.Point, _ string, n int) error {
			if p == sim.AtESTInfo && n == 2 {
				return &sim.Refusal{Code: status, Message: "later", RetryAfter: wait}
			}
			return nil
		}}
		inWeather(t, busy, func(w *world) {
			if _, err := w.issue(); fault.RetryAfter(err) != wait || w.cloud.ESTCount(device).Enrolled != 0 {
				w.Errorf("%v %v: %v", fault.Of(err), fault.RetryAfter(err), err)
			}
			w.wantChain(w.issue())
		})
	}
}
