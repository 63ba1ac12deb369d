package est

import (
	"testing"

	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/sim"
	"github.com/devid-agent/devid-agent/tpm"
	"github.com/devid-agent/devid-agent/tpm/tpmtest"
)

func TestKeysInATPMEnrollAndRenew(t *testing.T) {
	chip := tpmtest.Start(t)
	for _, algorithm := range []keys.Algorithm{keys.ECDSAP256, keys.ECDSAP384, keys.RSA2048} {
		t.Run(string(algorithm), func(t *testing.T) {
			cloud, err := sim.Start(t.Context(), sim.Temper{EST: sim.ESTTemper{Attributes: wishesFor(t, oidECDSASHA384)}})
			if err != nil {
				t.Fatal(err)
			}
			defer cloud.Close()
			w := newWorld(t, cloud)
			store, err := tpm.Open(tpm.Config{TCTI: chip.TCTI(), Dir: t.TempDir(), Algorithm: algorithm})
			if err != nil {
				t.Fatal(err)
			}
			if w.ids, err = identity.Open(t.Context(), t.TempDir(), store, nil); err != nil {
				t.Fatal(err)
			}
			w.next()
			w.config.URL = "https://" + cloud.ESTAddr()
			for range 2 {
				w.inForce(w.issue())
			}
			if n := cloud.ESTCount(device); n.Enrolled != 1 || n.Reenrolled != 1 || n.Rekeyed != 2 {
				t.Errorf("%+v", n)
			}
		})
	}
}
