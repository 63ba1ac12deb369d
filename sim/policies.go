package sim

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// servicePolicy is a shared access policy, "Control access to IoT Hub by using shared access signatures" and
// "Control access to Azure IoT Hub Device Provisioning Service (DPS)".
type servicePolicy struct {
	keys   [][]byte // primary, secondary
	rights []string
}

type servicePolicies map[string]servicePolicy

func newPolicies(rights map[string][]string) servicePolicies {
	all := servicePolicies{}
	for name, r := range rights {
		all[name] = servicePolicy{[][]byte{newSecret(32), newSecret(32)}, r}
	}
	return all
}

// The rights.
const (
	readRegistry    = "RegistryRead"
	writeRegistry   = "RegistryWrite"
	connectService  = "ServiceConnect"
	connectDevice   = "DeviceConnect"
	readEnrollment  = "EnrollmentRead"
	writeEnrollment = "EnrollmentWrite"
	readState       = "RegistrationStatusRead"
	writeState      = "RegistrationStatusWrite"
)

func newHubPolicies() servicePolicies {
	return newPolicies(map[string][]string{
		"iothubowner":       {readRegistry, writeRegistry, connectService, connectDevice},
		"service":           {connectService},
		"device":            {connectDevice},
		"registryRead":      {readRegistry},
		"registryReadWrite": {readRegistry, writeRegistry},
	})
}

func newDPSPolicies() servicePolicies {
	return newPolicies(map[string][]string{
		"provisioningserviceowner": {readEnrollment, writeEnrollment, readState, writeState},
		"enrollmentread":           {readEnrollment, readState},
	})
}

// check says why a token of a policy does not open any of resources, or nil.
func (p servicePolicies) check(t *token, right string, resources ...string) error {
	policy, ok := p[t.name]
	if !ok {
		return fmt.Errorf("there is no policy %q", t.name)
	}
	if !slices.Contains(policy.rights, right) {
		return fmt.Errorf("the policy %q has no right %s", t.name, right)
	}
	var err error
	for _, r := range resources {
		if err = t.check(r, t.name, policy.keys...); err == nil {
			return nil
		}
	}
	return err
}

func (p servicePolicies) connection(host, name string) string {
	policy, ok := p[name]
	if !ok {
		return ""
	}
	return fmt.Sprintf("HostName=%s;SharedAccessKeyName=%s;SharedAccessKey=%s", host, name, base64.StdEncoding.EncodeToString(policy.keys[0]))
}

// HubConnectionString is how a program reaches the hub's registry: as iothubowner.
func (c *Cloud) HubConnectionString() string { return c.HubPolicy("iothubowner") }

// HubPolicy is the connection string of a shared access policy of the hub: iothubowner, service, device, registryRead
// or registryReadWrite. "" is no such policy.
func (c *Cloud) HubPolicy(name string) string { return c.hubPolicies.connection(HubHost, name) }

// DPSConnectionString is how a program reaches the service API of the DPS: as provisioningserviceowner.
func (c *Cloud) DPSConnectionString() string { return c.DPSPolicy("provisioningserviceowner") }

// DPSPolicy is the connection string of a shared access policy of the DPS: provisioningserviceowner or enrollmentread.
// "" is no such policy.
func (c *Cloud) DPSPolicy(name string) string { return c.dpsPolicies.connection(DPSServiceHost, name) }

// permit says why a request does not have a right, or nil: by a shared access signature, or by a token of Microsoft
// Entra ID for audience.
func (c *Cloud) permit(r *http.Request, p servicePolicies, right, host, audience string) error {
	given := r.Header.Get("Authorization")
	switch {
	case given == "":
		return errors.New("no authorization")
	case strings.HasPrefix(given, "Bearer "):
		_, err := c.bearer(r, audience)
		return err
	}
	t, err := parseToken(given)
	if err != nil {
		return err
	}
	return p.check(t, right, host, host+r.URL.Path)
}
