package est

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/mtls"
	"github.com/devid-agent/devid-agent/sim"
)

func TestAnswerIsReadInEveryEncodingThatServersUse(t *testing.T) {
	for name, temper := range map[string]sim.ESTTemper{
		"lines":             {Encoding: sim.ESTLines},
		"PEM":               {Encoding: sim.ESTPEM},
		"DER":               {Encoding: sim.ESTDER},
		"indefinite length": {Encoding: sim.ESTIndefinite},
		"201":               {Created: true},
		"with its chain":    {Answer: sim.ESTWithChain},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, temper, func(w *world) {
				w.inForce(w.issue())
				w.wantChain(w.issue())
			})
		})
	}
}

func TestRootComesAlongWhereItIsWanted(t *testing.T) {
	inWorld(t, sim.ESTTemper{}, func(w *world) {
		w.config.WithRoot = true
		chain, err := w.issue()
		w.wantChain(chain, err)
		if len(chain) != 3 || !chain[2].Equal(w.cloud.ESTRoots()[0]) {
			w.Errorf("chain of %d", len(chain))
		}
	})
}

func TestChainOfARolloverServesThoseWithTheOldRootAndThoseWithTheNew(t *testing.T) {
	for name, temper := range map[string]sim.ESTTemper{
		"issued below the new root": {}, "still issued below the old one": {OldIssuer: true},
	} {
		inWorld(t, temper, func(w *world) {
			w.inForce(w.issue())
			if err := w.cloud.ESTRollover(); err != nil {
				w.Fatal(err)
			}
			w.client = nil
			chain, err := w.issue()
			w.wantChain(chain, err)
			for i, root := range w.cloud.ESTRoots() {
				w.wantTrusted(chain, root)
				if i == 1 && len(chain) < 3 {
					w.Errorf("%s: chain of %d without a cross-certificate", name, len(chain))
				}
			}
		})
	}
}

func TestNewRootIsAcceptedOnlyOverACertificateOfThePinnedOne(t *testing.T) {
	inWorld(t, sim.ESTTemper{}, func(w *world) {
		w.config.Anchors = w.cloud.ESTRoots()
		w.inForce(w.issue())
		if err := w.cloud.ESTRollover(); err != nil {
			w.Fatal(err)
		}
		w.inForce(w.issue())
		w.config.Anchors, w.client = w.cloud.ESTRoots()[:1], nil
		w.wantChain(w.issue())

		w.config.Anchors, w.client = w.strangers(), nil
		if _, err := w.issue(); fault.Of(err) != fault.Permanent || !strings.Contains(fault.Hint(err), "anchors") {
			w.Errorf("%v: %v", fault.Of(err), err)
		}
	})
}

// strangers are roots of somebody else's CA that has the same names.
func (w *world) strangers() []*x509.Certificate {
	other, err := sim.New(sim.Temper{}, func(p *sim.Policy) { p.ECDSAServer = true })
	if err != nil {
		w.Fatal(err)
	}
	defer other.Close()
	return other.ESTRoots()
}

func TestCertificatesOfTheCAAreNotTrustedByTLS(t *testing.T) {
	inWorld(t, sim.ESTTemper{}, func(w *world) {
		w.wantChain(w.issue())
		pool := x509.NewCertPool()
		for _, root := range w.cloud.ESTRoots() {
			pool.AddCert(root)
		}
		w.config.Roots, w.client = mtls.Fixed(pool), nil
		if _, err := w.issue(); fault.Of(err) != fault.Operator {
			w.Errorf("a server of another root was trusted: %v", err)
		}
	})
}

func TestCertificateThatBeginsInOurFutureIsHandedOn(t *testing.T) {
	inWorld(t, sim.ESTTemper{Answer: sim.ESTFuture}, func(w *world) {
		chain, err := w.issue()
		if err != nil || !chain[0].NotBefore.After(time.Now()) {
			w.Errorf("%v", err)
		}
	})
}

func TestChangedNamesAndIssuersAreTold(t *testing.T) {
	inWorld(t, sim.ESTTemper{}, func(w *world) {
		w.odd()
		w.wantChain(w.issue())
		if w.log.Len() != 0 {
			w.Errorf("told of nothing: %s", w.log)
		}
		w.cloud.SetTemper(sim.Temper{EST: sim.ESTTemper{Answer: sim.ESTLostNames}})
		w.wantChain(w.issue())
		if !strings.Contains(w.log.String(), "changed the names") {
			w.Errorf("log: %s", w.log)
		}
		other := *w.ids.Current().Leaf()
		other.RawIssuer = other.RawSubject
		renewalOf(w.request(), SimpleReenroll).compare(&other, w.config)
		if !strings.Contains(w.log.String(), "issuer has changed") {
			w.Errorf("log: %s", w.log)
		}
	})
}

func TestCertificateInForceIsNotItsOwnSuccessor(t *testing.T) {
	inWorld(t, sim.ESTTemper{}, func(w *world) {
		w.inForce(w.issue())
		w.key = w.ids.Current().Signer()
		w.cloud.SetTemper(sim.Temper{EST: sim.ESTTemper{Answer: sim.ESTOldOne}})
		if _, err := w.issue(); fault.Of(err) != fault.Permanent || !strings.Contains(err.Error(), "in force already") {
			w.Errorf("%v: %v", fault.Of(err), err)
		}
	})
}
