package sim

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// serveIMDS is one connection to the instance metadata service ("How to use managed identities for Azure resources on an
// Azure VM to acquire an access token"): plain HTTP, which leaves no machine.
func (c *Cloud) serveIMDS(l *link) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metadata/identity/oauth2/token", c.managedToken)
	serveHTTP(l.raw, mux)
}

func (c *Cloud) managedToken(w http.ResponseWriter, r *http.Request) {
	app, q := c.entra.begin.Machine, r.URL.Query()
	resource := strings.TrimSuffix(q.Get("resource"), "/")
	c.arrivedEntra(app.ClientID)
	switch {
	case !strings.EqualFold(r.Header.Get("Metadata"), "true"):
		refuseMetadata(w, "Required metadata header not specified")
	case r.Header.Get("X-Forwarded-For") != "":
		refuseMetadata(w, "a forwarded request")
	case q.Get("api-version") < "2018-02-01":
		refuseMetadata(w, "api-version is missing or too old")
	case resource == "":
		refuseMetadata(w, "resource is missing")
	case !anyOf(q.Get("client_id"), "", app.ClientID) || !anyOf(q.Get("object_id"), "", app.ObjectID) || q.Get("mi_res_id")+q.Get("msi_res_id") != "":
		refuseMetadata(w, "Identity not found")
	default:
		c.respondManaged(w, app, resource)
	}
}

func (c *Cloud) respondManaged(w http.ResponseWriter, app EntraApp, resource string) {
	expires := time.Now().Add(c.weather().Entra.life())
	token := c.keep(&entraToken{holder: principal{id: app.ObjectID, name: app.Name}, resource: resource, expires: expires})
	seconds := strconv.Itoa(int(time.Until(expires) / time.Second))
	c.log("imds", Issued, app.ClientID, "a token for "+resource)
	respondJSON(w, http.StatusOK, map[string]string{
		"access_token": token, "client_id": app.ClientID, "resource": resource, "token_type": "Bearer",
		"expires_in": seconds, "ext_expires_in": seconds, "expires_on": strconv.FormatInt(expires.Unix(), 10),
		"not_before": strconv.FormatInt(time.Now().Unix(), 10),
	})
}

func refuseMetadata(w http.ResponseWriter, text string) {
	respondJSON(w, http.StatusBadRequest, map[string]string{"error": "invalid_request", "error_description": text})
}

func anyOf(s string, all ...string) bool {
	for _, a := range all {
		if s == a {
			return true
		}
	}
	return false
}
