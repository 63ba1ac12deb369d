package main

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"os"

	"github.com/devid-agent/devid-agent/sim"
)

// Who may enroll any device at the EST server: this is a simulator.
const (
	estUser     = "line-1"
	estPassword = "simulated"
)

// description is cloud.json: where everything is, and what opens it, for scripts and for devid-station.
type description struct {
	Roots      string `json:"roots"` // file: whom the servers' certificates come from
	IDScope    string `json:"idScope"`
	DPS        face   `json:"dps"`
	DPSWeb     face   `json:"dpsWeb"` // HTTPS, WebSocket, and the service API
	Hub        face   `json:"hub"`
	HubWeb     face   `json:"hubWeb"` // WebSocket, and the registry
	Management face   `json:"management"`
	Blobs      face   `json:"blobs"` // the hub's storage account, for files of devices
	EST        struct {
		URL      string `json:"url"`
		User     string `json:"user"`
		Password string `json:"password"`
		Anchors  string `json:"anchors"` // file: whom its certificates come from
	} `json:"est"`
	EZCA struct {
		URL      string `json:"url"`
		CA       string `json:"ca"`
		Template string `json:"template"`
		EST      string `json:"est"`
		Issuers  string `json:"issuers"` // file: whom its certificates come from
	} `json:"ezca"`
	Entra struct {
		URL             string `json:"url"` // authority host
		Tenant          string `json:"tenant"`
		ClientID        string `json:"clientId"`
		ObjectID        string `json:"objectId"` // by which EZCA knows an owner or a requester
		ClientSecret    string `json:"clientSecret"`
		ManagedIdentity string `json:"managedIdentity"` // http://HOST:PORT instead of 169.254.169.254
	} `json:"entra"`
	HubConnectionString string `json:"hubConnectionString"`
	DPSConnectionString string `json:"dpsConnectionString"`
}

// face is a service: the name that devices verify, and what to dial for it.
type face struct {
	Host    string `json:"host"`
	Connect string `json:"connect"`
}

// describe writes the roots and cloud.json, and lets DPS and hub know the other authorities.
func (o *options) describe(cloud *sim.Cloud, diagnostics io.Writer) error {
	if err := os.WriteFile(o.file("roots.pem"), cloud.RootsPEM(), 0o644); err != nil {
		return err
	}
	cloud.ESTUser(estUser, estPassword)
	cloud.Enroll(sim.Enrollment{Group: "factory", CA: cloud.FactoryCA()})
	cloud.Enroll(sim.Enrollment{Group: "est", CA: cloud.ESTRoots()[0]})
	cloud.Enroll(sim.Enrollment{Group: "ezca", CA: cloud.EZCARoots()[0]})
	for name, all := range map[string][]*x509.Certificate{"est-roots.pem": cloud.ESTRoots(), "ezca-issuers.pem": cloud.EZCAIssuers()} {
		if err := writeCertificates(o.file(name), all); err != nil {
			return err
		}
	}
	d := o.description(cloud)
	b, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(o.file("cloud.json"), append(b, '\n'), 0o600); err != nil {
		return err
	}
	fmt.Fprintf(diagnostics, "devid-cloudsim: EST at %s, user %s, password %s; its certificates come from %s\n", d.EST.URL, d.EST.User, d.EST.Password, d.EST.Anchors)
	fmt.Fprintf(diagnostics, "devid-cloudsim: EZCA at %s, Entra at %s; all addresses and secrets are in %s\n", d.EZCA.URL, d.Entra.URL, o.file("cloud.json"))
	return nil
}

func (o *options) description(cloud *sim.Cloud) *description {
	d := &description{
		Roots: o.file("roots.pem"), IDScope: sim.IDScope,
		DPS: face{sim.DPSHost, cloud.DPSAddr()}, DPSWeb: face{sim.DPSHost, cloud.DPSHTTPAddr()},
		Hub: face{sim.HubHost, cloud.HubAddr()}, HubWeb: face{sim.HubHost, cloud.RegistryAddr()},
		Management:          face{sim.ManagementHost, cloud.ManagementAddr()},
		Blobs:               face{sim.BlobHost, cloud.BlobAddr()},
		HubConnectionString: cloud.HubConnectionString(), DPSConnectionString: cloud.DPSConnectionString(),
	}
	d.EST.URL, d.EST.User, d.EST.Password, d.EST.Anchors = "https://"+cloud.ESTAddr(), estUser, estPassword, o.file("est-roots.pem")
	ezca, entra := cloud.EZCA(), cloud.Entra()
	d.EZCA.URL, d.EZCA.CA, d.EZCA.Template = "https://"+cloud.EZCAAddr(), ezca.CA, ezca.Template
	d.EZCA.EST, d.EZCA.Issuers = d.EZCA.URL+cloud.EZCAESTPath(), o.file("ezca-issuers.pem")
	d.Entra.URL, d.Entra.Tenant = "https://"+cloud.EntraAddr()+"/", entra.Tenant
	d.Entra.ClientID, d.Entra.ObjectID, d.Entra.ClientSecret = entra.App.ClientID, entra.App.ObjectID, entra.App.Secret
	d.Entra.ManagedIdentity = "http://" + cloud.IMDSAddr()
	return d
}

func writeCertificates(file string, all []*x509.Certificate) error {
	var b bytes.Buffer
	for _, x := range all {
		pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: x.Raw})
	}
	return os.WriteFile(file, b.Bytes(), 0o644)
}
