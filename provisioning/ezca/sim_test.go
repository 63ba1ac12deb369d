package ezca

import (
	"crypto/x509"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/mtls"
	"github.com/devid-agent/devid-agent/sim"
)

// cloudy is a world in virtual time, whose EZCA is the simulated one.
type cloudy struct {
	*world
	cloud *sim.Cloud
}

func inCloud(t *testing.T, story func(w *cloudy)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cloud, err := sim.New(sim.Temper{}, func(p *sim.Policy) { p.ECDSAServer = true })
		if err != nil {
			t.Fatal(err)
		}
		defer cloud.Close()
		w := &cloudy{newWorld(t, newKeyRing(t)), cloud}
		w.config.URL, w.config.Dial = "https://"+sim.EZCAHost, cloud.Dial
		w.trust()
		story(w)
	})
}

// trust is what the operator configures for this cloud.
func (w *cloudy) trust() {
	w.config.CA, w.config.Template = w.cloud.EZCA().CA, w.cloud.EZCA().Template
	w.config.Roots = mtls.Fixed(x509.NewCertPool())
	w.config.Roots.Pool().AppendCertsFromPEM(w.cloud.RootsPEM())
	w.handOver(w.cloud.EZCAToken())
}

// temper lets EZCA misbehave, from its next request for a certificate on.
func (w *cloudy) temper(t sim.EZCATemper) { w.cloud.SetTemper(sim.Temper{EZCA: t}) }

func (w *cloudy) wantGood(chain []*x509.Certificate, err error) {
	w.Helper()
	w.wantChain(w.cloud.EZCARoots()[0], chain, err)
}

func (w *cloudy) asked() int {
	n := w.cloud.EZCACount(device)
	return n.Requested + n.Renewals
}

func TestGoodAnswersInEveryDressAreTaken(t *testing.T) {
	for _, api := range []string{V3, V2, V1} {
		for _, answer := range []sim.EZCAAnswer{sim.EZCAGood, sim.EZCANoRoot, sim.EZCAEmptyRoot, sim.EZCADouble, sim.EZCANoArmour, sim.EZCACRLF, sim.EZCAChain} {
			if answer == sim.EZCAChain && api != V3 {
				continue
			}
			inCloud(t, func(w *cloudy) {
				w.config.API = api
				w.temper(sim.EZCATemper{Answer: answer, Created: answer == sim.EZCACRLF, ExactType: true})
				for range 2 {
					chain, err := w.issue()
					w.wantGood(chain, err)
					w.inForce(chain, err)
				}
				if n := w.cloud.EZCACount(device); n.Requested != 1 || n.Renewals != 1 || n.Refused != 0 || n.Rekeyed != 1 {
					w.Errorf("%s, %d: %+v", api, answer, n)
				}
			})
		}
	}
}

func TestServiceWithoutV3RenewsByV2AndWithoutBothByV1BySetting(t *testing.T) {
	inCloud(t, func(w *cloudy) {
		w.inForce(w.issue())
		w.temper(sim.EZCATemper{NoV3: true})
		w.inForce(w.issue())
		w.temper(sim.EZCATemper{NoV3: true, NoV2: true})
		if _, err := w.issue(); fault.Of(err) != fault.Operator {
			w.Errorf("%v: %v", fault.Of(err), err)
		}
		w.config.API = V1
		w.wantGood(w.issue())
	})
}

func TestClocksThatDifferCostOneMoreRequest(t *testing.T) {
	for _, offset := range []time.Duration{-10 * time.Minute, -2 * time.Minute, 10 * time.Minute} {
		inCloud(t, func(w *cloudy) {
			w.inForce(w.issue())
			time.Sleep(time.Hour)
			w.temper(sim.EZCATemper{ClockOffset: offset})
			before := w.asked()
			chain, err := w.issue()
			if offset > 0 { // the certificate may begin in our future
				if err != nil && !strings.Contains(fault.Hint(err), "clock") {
					w.Errorf("%v: %v", offset, err)
				}
			} else {
				w.wantGood(chain, err)
			}
			if n := w.asked() - before; n != 2 {
				w.Errorf("%v: %d requests", offset, n)
			}
		})
	}
}

func TestNewIssuingCAIsFollowed(t *testing.T) {
	inCloud(t, func(w *cloudy) {
		w.inForce(w.issue())
		if err := w.cloud.EZCARollover(); err != nil {
			w.Fatal(err)
		}
		w.wantGood(w.issue())
	})
}

func TestWayBackTakesATokenAgain(t *testing.T) {
	inCloud(t, func(w *cloudy) {
		w.inForce(w.issue())
		w.cloud.EZCARevoke(device)
		if _, err := w.issue(); fault.Of(err) != fault.Operator {
			w.Errorf("%v: %v", fault.Of(err), err)
		}
		back := New(w.config).First()
		if _, err := back.Issue(w.Context(), w.request()); fault.Of(err) != fault.Operator || !strings.Contains(err.Error(), "no token") {
			w.Errorf("without a token: %v: %v", fault.Of(err), err)
		}
		w.handOver(w.cloud.EZCAToken())
		w.wantGood(back.Issue(w.Context(), w.request()))
		if w.tokenIsLeft() {
			w.Error("the token is left")
		}
	})
}
