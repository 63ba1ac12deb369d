package sim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// managementPath is where the resource manager has CA certificates: "Dps Certificate" and "Certificates" of IoT Hub in
// the REST reference. Subscription and group may be any; the resource is the first label of its host's name.
var managementPath = regexp.MustCompile(`(?i)^/subscriptions/([^/]+)/resourceGroups/([^/]+)/providers/Microsoft\.Devices/(IotHubs|provisioningServices)/([^/]+)/certificates(?:/([^/]+))?(?:/(generateVerificationCode|verify))?$`)

// managementHandler takes CA certificates and the proofs of their owners.
func (c *Cloud) managementHandler(*link) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m := &manager{cloud: c, w: w, r: r}
		if no := m.serve(); no != nil {
			c.refuseAt(AtManagement, m.name)
			c.log("management", Answered, m.name, no.code+": "+no.text)
			writeJSON(w, no.status, marshal(map[string]any{"error": map[string]string{"code": no.code, "message": no.text}}))
		}
	})
}

// manager is one request to the resource manager.
type manager struct {
	cloud    *Cloud
	w        http.ResponseWriter
	r        *http.Request
	path     []string
	resource string // Microsoft.Devices/…
	name     string
	all      *authorities
}

// managementError is an answer that says no ("Common deployment errors", error details).
type managementError struct {
	status     int
	code, text string
}

func (m *manager) serve() *managementError {
	if _, err := m.cloud.bearer(m.r, "https://management.azure.com", "https://management.core.windows.net"); err != nil {
		return &managementError{http.StatusUnauthorized, "AuthenticationFailed", "Authentication failed: " + err.Error() + "."}
	}
	if !versionForm.MatchString(m.r.URL.Query().Get("api-version")) {
		return &managementError{http.StatusBadRequest, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests."}
	}
	m.path = managementPath.FindStringSubmatch(m.r.URL.Path)
	if m.path == nil {
		return &managementError{http.StatusNotFound, "InvalidResourceType", "There is no such resource."}
	}
	m.name = m.path[5]
	host := HubHost
	m.all, m.resource = m.cloud.hubCAs, "Microsoft.Devices/IotHubs"
	if strings.EqualFold(m.path[3], "provisioningServices") {
		host, m.all, m.resource = DPSServiceHost, m.cloud.dpsCAs, "Microsoft.Devices/ProvisioningServices"
	}
	if !strings.EqualFold(strings.SplitN(host, ".", 2)[0], m.path[4]) {
		return &managementError{http.StatusNotFound, "ResourceNotFound", "There is no resource " + m.path[4] + "."}
	}
	body, err := readBody(m.r, maxBody)
	if err != nil {
		return badManagement(err.Error())
	}
	if no := m.cloud.managementTrouble(m); no != nil {
		return no
	}
	m.cloud.mu.Lock()
	defer m.cloud.mu.Unlock()
	return m.act(body)
}

func (c *Cloud) managementTrouble(m *manager) *managementError {
	no := c.serviceTrouble(m.r, AtManagement, m.name)
	if no == nil {
		return nil
	}
	retryAfter(m.w, no.RetryAfter)
	return &managementError{httpStatus(no.Code), "ServerBusy", no.Message}
}

func (m *manager) act(body []byte) *managementError {
	a := m.all.find(m.name)
	switch act := strings.ToLower(m.path[6]); {
	case m.name == "" && m.r.Method == http.MethodGet:
		return m.list()
	case m.name == "":
		return &managementError{http.StatusMethodNotAllowed, "MethodNotAllowed", "The method is not allowed."}
	case act == "" && m.r.Method == http.MethodPut:
		return m.upload(a, body)
	case a == nil:
		return &managementError{http.StatusNotFound, "CertificateNotFound", "There is no certificate " + m.name + "."}
	case act == "" && m.r.Method == http.MethodGet:
		return m.show(a, http.StatusOK, "")
	case !m.matches(a):
		return &managementError{http.StatusPreconditionFailed, "PreconditionFailed", "The etag does not match, or If-Match is missing."}
	case act == "" && m.r.Method == http.MethodDelete:
		delete(m.all.byName, strings.ToLower(m.name))
		m.w.WriteHeader(http.StatusOK)
		return nil
	case act == "generateverificationcode" && m.r.Method == http.MethodPost:
		a.code = strings.ToUpper(randomHex(24))
		a.changed()
		return m.show(a, http.StatusOK, a.code)
	case act == "verify" && m.r.Method == http.MethodPost:
		return m.verify(a, body)
	}
	return &managementError{http.StatusMethodNotAllowed, "MethodNotAllowed", "The method is not allowed."}
}

// matches holds If-Match against the certificate. All that changes one, but the first upload, must have it.
func (m *manager) matches(a *authority) bool {
	given := strings.Trim(m.r.Header.Get("If-Match"), `"`)
	return given == "*" || given == a.etag
}

func badManagement(text string) *managementError {
	return &managementError{http.StatusBadRequest, "400004", text}
}

// upload takes a CA certificate. isVerified spares the proof of possession, as the portal does with "set certificate
// status to verified on upload".
func (m *manager) upload(a *authority, body []byte) *managementError {
	var in struct {
		Properties struct {
			Certificate string `json:"certificate"`
			IsVerified  bool   `json:"isVerified"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return badManagement("The body is not JSON: " + err.Error())
	}
	ca, err := parseCA(in.Properties.Certificate)
	switch {
	case err != nil:
		return badManagement("The certificate cannot be read: " + err.Error())
	case !ca.IsCA:
		return badManagement("The certificate is not one of a CA.")
	case a != nil && !m.matches(a):
		return &managementError{http.StatusPreconditionFailed, "PreconditionFailed", "There is a certificate of that name: If-Match must have its etag."}
	case a == nil && len(m.all.byName) >= 25: // "IoT Hub quotas and throttling", "DPS quotas and limits"
		return badManagement("There are 25 certificates.")
	}
	fresh := &authority{name: m.name, cert: ca, verified: in.Properties.IsVerified, created: time.Now()}
	if a != nil {
		fresh.created = a.created
	}
	fresh.changed()
	m.all.byName[strings.ToLower(m.name)] = fresh
	return m.show(fresh, http.StatusOK, "")
}

func (m *manager) verify(a *authority, body []byte) *managementError {
	var in struct {
		Certificate string `json:"certificate"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return badManagement("The body is not JSON: " + err.Error())
	}
	proof, err := parseCA(in.Certificate)
	if err == nil {
		err = a.prove(proof)
	}
	if err != nil {
		return badManagement("The proof of possession fails: " + err.Error() + ".")
	}
	return m.show(a, http.StatusOK, "")
}

func (m *manager) list() *managementError {
	all := []any{}
	for _, a := range m.all.sorted() {
		all = append(all, m.describe(a, ""))
	}
	writeJSON(m.w, http.StatusOK, marshal(map[string]any{"value": all}))
	return nil
}

func (m *manager) show(a *authority, status int, code string) *managementError {
	m.w.Header().Set("ETag", a.etag)
	writeJSON(m.w, status, marshal(m.describe(a, code)))
	return nil
}

// describe is the certificate as the examples of both services have it.
func (m *manager) describe(a *authority, code string) map[string]any {
	properties := map[string]any{
		"subject":     a.cert.Subject.String(),
		"expiry":      a.cert.NotAfter.UTC().Format(http.TimeFormat),
		"thumbprint":  strings.ToUpper(thumbprint1(a.cert)),
		"isVerified":  a.verified,
		"created":     a.created.UTC().Format(http.TimeFormat),
		"updated":     a.updated.UTC().Format(http.TimeFormat),
		"certificate": a.cert.Raw,
	}
	if code != "" {
		properties["verificationCode"] = code
	}
	return map[string]any{
		"id":         fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/%s/%s/certificates/%s", m.path[1], m.path[2], m.resource, m.path[4], a.name),
		"name":       a.name,
		"type":       m.resource + "/Certificates",
		"etag":       a.etag,
		"properties": properties,
	}
}
