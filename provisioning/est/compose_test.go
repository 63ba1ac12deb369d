package est

import (
	"testing"

	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/provisioning"
	"github.com/devid-agent/devid-agent/provisioning/dps"
	"github.com/devid-agent/devid-agent/sim"
)

func TestESTSignsAndDPSPlaces(t *testing.T) {
	inWorld(t, sim.ESTTemper{}, func(w *world) {
		w.cloud.Enroll(sim.Enrollment{CA: w.cloud.ESTRoots()[0]})
		place := dps.New(dps.Config{IDScope: sim.IDScope, Roots: w.config.Roots, Dial: w.cloud.Dial})
		grant, err := provisioning.Compose(New(w.config), place).Enroll(w.Context(), w.request())
		if err != nil {
			w.Fatal(err)
		}
		w.inForce(grant.Chain, nil)
		if want := (identity.Assignment{DeviceID: device, Hub: sim.HubHost}); grant.Assignment != want {
			w.Errorf("%+v", grant.Assignment)
		}
		next, err := provisioning.Renewal(New(w.config)).Enroll(w.Context(), w.request())
		w.wantChain(next.Chain, err)
		if n := w.cloud.ESTCount(device); n.Reenrolled != 1 || n.Enrolled != 1 {
			w.Errorf("%+v", n)
		}
	})
}
