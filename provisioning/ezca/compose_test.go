package ezca

import (
	"testing"

	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/provisioning"
	"github.com/devid-agent/devid-agent/provisioning/dps"
	"github.com/devid-agent/devid-agent/sim"
)

func TestEZCASignsAndDPSPlaces(t *testing.T) {
	inCloud(t, func(w *cloudy) {
		w.cloud.Enroll(sim.Enrollment{CA: w.cloud.EZCARoots()[0]})
		place := dps.New(dps.Config{IDScope: sim.IDScope, Roots: w.config.Roots, Dial: w.cloud.Dial})
		grant, err := provisioning.Compose(New(w.config), place).Enroll(w.Context(), w.request())
		w.wantGood(grant.Chain, err)
		if want := (identity.Assignment{DeviceID: device, Hub: sim.HubHost}); grant.Assignment != want {
			w.Errorf("%+v", grant.Assignment)
		}
		w.inForce(grant.Chain, err)
		next, err := provisioning.Renewal(New(w.config)).Enroll(w.Context(), w.request())
		w.wantGood(next.Chain, err)
		if n := w.cloud.EZCACount(device); n.Requested != 1 || n.Rekeyed != 1 {
			w.Errorf("%+v", n)
		}
	})
}
