package sim

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"time"
)

// EntraHost is the name by which programs know the token endpoint of Microsoft Entra ID.
const EntraHost = "login.entra.example"

// imdsHost is where a virtual machine of Azure asks for the token of its own identity, by plain HTTP on port 80.
const imdsHost = "169.254.169.254"

// AtEntra is the point of the token endpoint: a request arrived, not yet looked at. It names the client ID.
const AtEntra Point = "entra"

// EntraApp is a program that may ask for tokens.
type EntraApp struct {
	ClientID     string              // made where it is empty
	ObjectID     string              // of its service principal; made where it is empty
	Name         string              // for people
	Secret       string              // "" has none
	Certificates []*x509.Certificate // whose keys may sign its assertions, RSA ones
}

// EntraDirectory is what the cloud's directory begins with.
type EntraDirectory struct {
	Tenant  string   // ID
	App     EntraApp // a program with a secret
	Machine EntraApp // the managed identity of this machine, which IMDS gives tokens for
}

// entra is the token endpoint and its directory. The cloud's mutex guards it, but for what newEntra fills in.
type entra struct {
	service, imds *service
	begin         EntraDirectory
	apps          map[string]*entraApp // by client ID
	tokens        map[string]*entraToken
	seen          map[string]time.Time // assertions by client ID and jti, until they end
	counts        map[string]int       // requests by client ID
}

type entraApp struct {
	EntraApp
	since map[string]time.Time // when a certificate was registered, by thumbprint
}

func newEntra(c *Cloud) *entra {
	e := &entra{
		service: &service{name: "entra", host: EntraHost, serve: c.serveEntra},
		imds:    &service{name: "imds", host: imdsHost, serve: c.serveIMDS},
		apps:    map[string]*entraApp{}, tokens: map[string]*entraToken{}, seen: map[string]time.Time{}, counts: map[string]int{},
	}
	e.begin = EntraDirectory{
		Tenant:  newGUID(),
		App:     e.register(EntraApp{Name: "station", Secret: randomHex(20)}),
		Machine: e.register(EntraApp{Name: "this machine"}),
	}
	return e
}

// Entra returns what the directory began with.
func (c *Cloud) Entra() EntraDirectory { return c.entra.begin }

// EntraAddr is the host:port of the token endpoint, "" after New.
func (c *Cloud) EntraAddr() string { return c.addr(c.entra.service) }

// IMDSAddr is the host:port that gives tokens of the managed identity by plain HTTP, "" after New.
func (c *Cloud) IMDSAddr() string { return c.addr(c.entra.imds) }

// EntraApp registers a program, or what has changed of the one with that client ID, and returns it completed.
func (c *Cloud) EntraApp(a EntraApp) EntraApp {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.entra.register(a)
}

func (e *entra) register(a EntraApp) EntraApp {
	if a.ClientID == "" {
		a.ClientID = newGUID()
	}
	old := e.apps[a.ClientID]
	app := &entraApp{EntraApp: a, since: map[string]time.Time{}}
	for _, x := range a.Certificates {
		app.since[thumbprint(x)] = time.Now()
		if old != nil && !old.since[thumbprint(x)].IsZero() {
			app.since[thumbprint(x)] = old.since[thumbprint(x)]
		}
	}
	if app.ObjectID == "" && old != nil {
		app.ObjectID = old.ObjectID
	} else if app.ObjectID == "" {
		app.ObjectID = newGUID()
	}
	e.apps[a.ClientID] = app
	return app.EntraApp
}

// machine reports whether an object of the directory is a program: the directory knows its programs, and takes anything
// else for a person or a group.
func (e *entra) machine(objectID string) bool {
	for _, a := range e.apps {
		if a.ObjectID == objectID || a.ClientID == objectID {
			return true
		}
	}
	return false
}

// EntraCount is how often the program with that client ID has asked for a token.
func (c *Cloud) EntraCount(clientID string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.entra.counts[clientID]
}

// serveEntra is one connection to the token endpoint, which asks for no certificate.
func (c *Cloud) serveEntra(l *link) {
	c.mu.Lock()
	shown := c.pki.server
	c.mu.Unlock()
	config := &tls.Config{Certificates: []tls.Certificate{shown}, CipherSuites: suites, MinVersion: tls.VersionTLS12}
	if c.weather().TLS12Only {
		config.MaxVersion = tls.VersionTLS12
	}
	if !l.secure(config) {
		return
	}
	h := &entraHandler{cloud: c, link: l}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{tenant}/oauth2/v2.0/token", h.token)
	mux.HandleFunc("GET /{tenant}/v2.0/.well-known/openid-configuration", h.configuration)
	mux.HandleFunc("GET /{tenant}/discovery/instance", h.instance)
	serveHTTP(l.tls, mux)
	c.log("entra", Disconnected, l.name, "")
}

// entraHandler serves one connection.
type entraHandler struct {
	cloud *Cloud
	link  *link
}

// configuration says where things are, by the name with which it was asked ("OpenID Connect on the Microsoft identity
// platform").
func (h *entraHandler) configuration(w http.ResponseWriter, r *http.Request) {
	tenant := "https://" + r.Host + "/" + r.PathValue("tenant")
	respondJSON(w, http.StatusOK, map[string]any{
		"issuer":                                tenant + "/v2.0",
		"authorization_endpoint":                tenant + "/oauth2/v2.0/authorize",
		"token_endpoint":                        tenant + "/oauth2/v2.0/token",
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt"},
		"response_types_supported":              []string{"token"},
	})
}

// instance says that this host is the only one of its cloud.
func (h *entraHandler) instance(w http.ResponseWriter, r *http.Request) {
	respondJSON(w, http.StatusOK, map[string]any{
		"tenant_discovery_endpoint": "https://" + r.Host + "/" + h.cloud.entra.begin.Tenant + "/v2.0/.well-known/openid-configuration",
		"api-version":               "1.1",
		"metadata":                  []any{map[string]any{"preferred_network": r.Host, "preferred_cache": r.Host, "aliases": []string{r.Host}}},
	})
}

// respondJSON answers with v.
func respondJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}
