package ezca

import (
	"testing"

	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/sim"
	"github.com/devid-agent/devid-agent/tpm"
	"github.com/devid-agent/devid-agent/tpm/tpmtest"
)

func TestKeyInATPMRenewsItself(t *testing.T) {
	chip := tpmtest.Start(t)
	cloud, err := sim.Start(t.Context(), sim.Temper{})
	if err != nil {
		t.Fatal(err)
	}
	defer cloud.Close()
	store, err := tpm.Open(tpm.Config{TCTI: chip.TCTI(), Dir: t.TempDir(), Algorithm: keys.RSA2048})
	if err != nil {
		t.Fatal(err)
	}
	w := &cloudy{newWorld(t, store), cloud}
	w.config.URL = "https://" + cloud.EZCAAddr()
	w.trust()
	for range 3 {
		chain, err := w.issue()
		w.wantGood(chain, err)
		w.inForce(chain, err)
	}
	if n := cloud.EZCACount(device); n.Requested != 1 || n.Renewals != 2 || n.Rekeyed != 2 || n.Refused != 0 {
		t.Errorf("%+v", n)
	}
}
