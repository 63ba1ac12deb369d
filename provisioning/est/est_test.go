package est

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/provisioning"
	"github.com/devid-agent/devid-agent/sim"
)

func TestFirstCertificateComesForTheBootstrapCertificate(t *testing.T) {
	inWorld(t, sim.ESTTemper{}, func(w *world) {
		chain, err := w.issue()
		w.wantChain(chain, err)
		if len(chain) != 2 {
			w.Errorf("chain of %d, want leaf and issuing CA", len(chain))
		}
		if n := w.cloud.ESTCount(device); n.Enrolled != 1 || n.Reenrolled != 0 || n.Issued != 1 || n.AuthenticatedByCertificates != 1 {
			w.Errorf("%+v", n)
		}
	})
}

func TestFirstCertificateComesForUserAndPassword(t *testing.T) {
	inWorld(t, sim.ESTTemper{}, func(w *world) {
		w.cloud.ESTUser("line-3", "s3cret")
		w.config.Bootstrap = nil
		w.config.Username, w.config.Password = "line-3", func() (string, error) { return "s3cret", nil }
		w.inForce(w.issue())
		if n := w.cloud.ESTCount("line-3"); n.AuthenticatedByBasic != 1 {
			w.Errorf("%+v", n)
		}
		w.wantChain(w.issue())
		if n := w.cloud.ESTCount(device); n.Passwords != 0 {
			w.Errorf("the renewal showed the password: %+v", n)
		}
	})
}

func TestPasswordGoesToInfoOnlyWhereTheServerInsists(t *testing.T) {
	inWorld(t, sim.ESTTemper{BasicForInfo: true}, func(w *world) {
		w.cloud.ESTUser("line-3", "s3cret")
		w.config.Bootstrap = nil
		w.config.Username, w.config.Password = "line-3", func() (string, error) { return "s3cret", nil }
		w.wantChain(w.issue())
		if n := w.cloud.ESTCount(""); n.Refused != 2 || n.CACerts != 2 || n.Attributes != 2 {
			w.Errorf("%+v", n)
		}
	})
}

func TestRenewalCarriesSubjectAndAlternativeNamesOverByteForByte(t *testing.T) {
	inWorld(t, sim.ESTTemper{}, func(w *world) {
		subject, san := w.odd()
		chain, err := w.issue()
		w.wantChain(chain, err)
		if !bytes.Equal(chain[0].RawSubject, subject) {
			w.Errorf("subject %x, want %x", chain[0].RawSubject, subject)
		}
		got := []byte(nil)
		for _, e := range chain[0].Extensions {
			if e.Id.Equal(provisioning.OIDAlternativeNames) {
				got = e.Value
			}
		}
		if !bytes.Equal(got, san) {
			w.Errorf("alternative names %x, want %x", got, san)
		}
		if n := w.cloud.ESTCount(device); n.Reenrolled != 1 || n.Rekeyed != 1 || n.Enrolled != 0 {
			w.Errorf("%+v", n)
		}
	})
}

func TestRenewalForTheSameKeyIsARenewalAndNotARekey(t *testing.T) {
	inWorld(t, sim.ESTTemper{}, func(w *world) {
		w.inForce(w.issue())
		w.key = w.ids.Current().Signer()
		chain, err := w.issue()
		w.wantChain(chain, err)
		if n := w.cloud.ESTCount(device); n.Renewed != 1 || chain[0].Equal(w.ids.Current().Leaf()) {
			w.Errorf("%+v", n)
		}
	})
}

func TestWayBackUsesTheBootstrapCredentialAgain(t *testing.T) {
	inWorld(t, sim.ESTTemper{}, func(w *world) {
		w.inForce(w.issue())
		w.cloud.ESTRevoke(device)
		if _, err := w.issue(); fault.Of(err) != fault.Operator || !strings.Contains(fault.Hint(err), "not revoked") {
			w.Errorf("%v: %v | %s", fault.Of(err), err, fault.Hint(err))
		}
		w.wantChain(w.client.First().Issue(w.Context(), w.request()))
	})
}

func TestServerWithoutReenrollRenewsByEnroll(t *testing.T) {
	inWorld(t, sim.ESTTemper{NoReenroll: true}, func(w *world) {
		w.odd()
		chain, err := w.issue()
		w.wantChain(chain, err)
		if n := w.cloud.ESTCount(device); n.Enrolled != 1 || !bytes.Equal(chain[0].RawSubject, w.ids.Current().Leaf().RawSubject) {
			w.Errorf("%+v", n)
		}
	})
}

func TestServerThatRenewsByEnrollIsAskedSoFromTheStart(t *testing.T) {
	inWorld(t, sim.ESTTemper{}, func(w *world) {
		w.config.Reenroll = SimpleEnroll
		w.inForce(w.issue())
		w.wantChain(w.issue())
		if n := w.cloud.ESTCount(device); n.Enrolled != 2 || n.Reenrolled != 0 {
			w.Errorf("%+v", n)
		}
	})
}

func TestEZCAsAddressAndLabelsAreReached(t *testing.T) {
	for _, address := range []struct{ url, label string }{
		{"https://" + sim.ESTHost, "factory-ca"},
		{"https://" + sim.ESTHost + "/", ""},
		{"https://" + sim.ESTHost + ":443/.well-known/est/", "a"},
		{"https://" + sim.ESTHost + "/EST/5f0b/7c1d/eastus/.well-known/est", ""},
	} {
		inWorld(t, sim.ESTTemper{}, func(w *world) {
			w.config.URL, w.config.Label = address.url, address.label
			w.inForce(w.issue())
			w.wantChain(w.issue())
		})
	}
}

func TestAddressThatCannotWorkIsRefusedBeforeAnybodyIsAsked(t *testing.T) {
	for name, c := range map[string]Config{
		"plain HTTP":       {URL: "http://ca.example"},
		"no URL":           {},
		"no host":          {URL: "https:///x"},
		"password in it":   {URL: "https://user:pw@ca.example"},
		"query":            {URL: "https://ca.example/?a=b"},
		"label with slash": {URL: "https://ca.example", Label: "a/b"},
		"label cacerts":    {URL: "https://ca.example", Label: "cacerts"},
		"label dots":       {URL: "https://ca.example", Label: ".."},
		"odd operation":    {URL: "https://ca.example", Reenroll: "fullcmc"},
		"colon in user":    {URL: "https://ca.example", Username: "a:b"},
	} {
		err := c.Check()
		if fault.Of(err) != fault.Operator || fault.Hint(err) == "" {
			t.Errorf("%s: %v: %v", name, fault.Of(err), err)
		}
		if strings.Contains(err.Error(), "pw") {
			t.Errorf("%s: the password is told: %v", name, err)
		}
		c.Dial = func(context.Context, string, string) (net.Conn, error) {
			t.Errorf("%s: dialled", name)
			return nil, net.ErrClosed
		}
		if _, err := New(c).Issue(t.Context(), provisioning.Request{DeviceID: device}); fault.Of(err) != fault.Operator {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDeviceWithoutAnyCredentialIsToldSo(t *testing.T) {
	inWorld(t, sim.ESTTemper{}, func(w *world) {
		w.config.Bootstrap = nil
		if _, err := w.issue(); fault.Of(err) != fault.Operator || len(w.cloud.Events()) != 0 {
			w.Errorf("%v: %v", fault.Of(err), err)
		}
	})
}

func TestServerThatWantsOneCertificateGetsOne(t *testing.T) {
	inWorld(t, sim.ESTTemper{OnePeer: true, ExactType: true, Created: true}, func(w *world) {
		if _, err := w.issue(); fault.Of(err) != fault.Operator {
			w.Errorf("%v: %v", fault.Of(err), err)
		}
		w.config.LeafOnly, w.client = true, nil
		w.inForce(w.issue())
		w.wantChain(w.issue())
	})
}

func TestEnrollOverTCPWithEachTLS(t *testing.T) {
	for _, temper := range []sim.Temper{{}, {TLS12Only: true}, {RefuseInHandshake: true}} {
		cloud, err := sim.Start(t.Context(), temper)
		if err != nil {
			t.Fatal(err)
		}
		defer cloud.Close()
		w := newWorld(t, cloud)
		w.config.URL = "https://" + cloud.ESTAddr()
		w.inForce(w.issue())
		w.wantChain(w.issue())
	}
}

func TestTimeThatTheHardwareSignsDoesNotCount(t *testing.T) {
	slow := sim.Temper{Fault: func(sim.Point, string, int) error { time.Sleep(answerTimeout / 3); return nil }}
	inWeather(t, slow, func(w *world) {
		boot, _ := w.config.Bootstrap(w.Context())
		boot.PrivateKey = slowSigner{boot.PrivateKey.(crypto.Signer), answerTimeout - 2*time.Second}
		w.config.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			time.Sleep(5 * time.Second)
			return w.cloud.Dial(ctx, network, address)
		}
		w.config.Bootstrap = func(context.Context) (tls.Certificate, error) { return boot, nil }
		w.wantChain(w.issue())
	})
}

func TestHardwareThatDoesNotSignIsNamedWithItsLabel(t *testing.T) {
	locked := fault.AskOperator(errors.New("tpm: locked out"), "wait until 12:00")
	inWorld(t, sim.ESTTemper{}, func(w *world) {
		boot, _ := w.config.Bootstrap(w.Context())
		good := boot.PrivateKey
		boot.PrivateKey = failingSigner{good.(crypto.Signer), locked}
		w.config.Bootstrap = func(context.Context) (tls.Certificate, error) { return boot, nil }
		if _, err := w.issue(); !errors.Is(err, locked) || fault.Of(err) != fault.Operator || fault.Hint(err) != "wait until 12:00" {
			w.Errorf("TLS: %v: %v", fault.Of(err), err)
		}
		boot.PrivateKey, w.key = good, failingSigner{w.key, locked}
		if _, err := w.issue(); !errors.Is(err, locked) || fault.Of(err) != fault.Operator {
			w.Errorf("CSR: %v: %v", fault.Of(err), err)
		}
	})
}

func TestStopIsPrompt(t *testing.T) {
	inWorld(t, sim.ESTTemper{Pending: 1000, RetryAfter: 20 * time.Second}, func(w *world) {
		ctx, cancel := context.WithCancel(w.Context())
		time.AfterFunc(30*time.Second, cancel)
		start := time.Now()
		_, err := New(w.config).Issue(ctx, w.request())
		if !fault.Stopped(err) || time.Since(start) > 31*time.Second {
			w.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

func TestSecretsAreNotInErrorsOrLogs(t *testing.T) {
	inWorld(t, sim.ESTTemper{}, func(w *world) {
		const canary = "c4n4ry-p4ssw0rd"
		w.config.Bootstrap = nil
		w.config.Username, w.config.Password = "line-3", func() (string, error) { return canary, nil }
		_, err := w.issue()
		if err == nil || strings.Contains(err.Error()+fault.Hint(err)+w.log.String(), canary) {
			w.Errorf("%v %s", err, w.log)
		}
	})
}
