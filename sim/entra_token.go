package sim

import (
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// entraToken is an access token that was given out.
type entraToken struct {
	holder   principal
	resource string // without a slash at its end
	expires  time.Time
}

// principal is whose token it is.
type principal struct {
	id, name string
	every    bool // requester of every domain: whoever holds a one-use token of EZCA
}

// entraError is an answer that says no ("Microsoft Entra authentication and authorization error codes").
type entraError struct {
	status int
	kind   string // of OAuth 2.0, RFC 6749 section 5.2
	code   int    // AADSTS…
	text   string
}

func (e *entraError) Error() string { return fmt.Sprintf("AADSTS%d: %s", e.code, e.text) }

func (h *entraHandler) token(w http.ResponseWriter, r *http.Request) {
	t := h.cloud.weather().Entra
	w.Header().Set("Date", time.Now().Add(t.ClockOffset).UTC().Format(http.TimeFormat))
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil {
		h.refuse(w, "", &entraError{400, "invalid_request", 900144, "the request body is not a form"})
		return
	}
	client := r.PostForm.Get("client_id")
	n := h.cloud.arrivedEntra(client)
	if no := h.cloud.httpTrouble(r.Context(), h.link, AtEntra, client); no != nil {
		retryAfter(w, no.RetryAfter)
		h.refuse(w, client, &entraError{httpStatus(no.Code), "temporarily_unavailable", 90055, no.Message})
		return
	}
	switch {
	case t.Status != 0 && (t.StatusTimes == 0 || n <= t.StatusTimes):
		retryAfter(w, t.RetryAfter)
		h.refuse(w, client, &entraError{t.Status, "temporarily_unavailable", 90055, "as planned"})
		return
	case t.Page:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, estPage)
		return
	}
	token, err := h.grant(r, t)
	if err != nil {
		h.refuse(w, client, err)
		return
	}
	h.cloud.log("entra", Issued, client, "a token for "+token.resource)
	life := int(time.Until(token.expires) / time.Second)
	respondJSON(w, http.StatusOK, map[string]any{
		"token_type": "Bearer", "expires_in": life, "ext_expires_in": life, "access_token": h.cloud.keep(token)})
}

// grant judges a request by client credentials ("OAuth 2.0 client credentials flow").
func (h *entraHandler) grant(r *http.Request, t EntraTemper) (*entraToken, error) {
	form := r.PostForm
	if tenant := h.cloud.entra.begin.Tenant; r.PathValue("tenant") != tenant {
		return nil, &entraError{400, "invalid_request", 90002, fmt.Sprintf("tenant %q not found", r.PathValue("tenant"))}
	}
	if g := form.Get("grant_type"); g != "client_credentials" {
		return nil, &entraError{400, "unsupported_grant_type", 70003, fmt.Sprintf("the grant %q is not supported", g)}
	}
	resource, err := scopeResource(form.Get("scope"))
	if err != nil {
		return nil, &entraError{400, "invalid_scope", 1002012, err.Error()}
	}
	h.cloud.mu.Lock()
	app := h.cloud.entra.apps[form.Get("client_id")]
	h.cloud.mu.Unlock()
	if app == nil {
		return nil, &entraError{400, "unauthorized_client", 700016, fmt.Sprintf("no application %q in this directory", form.Get("client_id"))}
	}
	if err := h.authenticate(r, app, t); err != nil {
		return nil, err
	}
	return &entraToken{holder: principal{id: app.ObjectID, name: app.Name}, resource: resource, expires: time.Now().Add(t.life())}, nil
}

func (h *entraHandler) authenticate(r *http.Request, app *entraApp, t EntraTemper) error {
	assertion, secret := r.PostForm.Get("client_assertion"), r.PostForm.Get("client_secret")
	switch {
	case assertion != "" && secret != "":
		return &entraError{400, "invalid_request", 70002, "an assertion and a secret"}
	case assertion != "":
		return h.assertion(r, app, t)
	case secret == "":
		return &entraError{401, "invalid_client", 7000218, "the request body must contain client_assertion or client_secret"}
	case app.Secret == "" || subtle.ConstantTimeCompare([]byte(secret), []byte(app.Secret)) != 1:
		return &entraError{401, "invalid_client", 7000215, "invalid client secret provided"}
	}
	return nil
}

// scopeResource is the one resource of a scope. The scopes of OpenID Connect, which MSAL adds, mean nothing here.
func scopeResource(scope string) (string, error) {
	var resources []string
	for _, s := range strings.Fields(scope) {
		if resource, ok := strings.CutSuffix(s, "/.default"); ok {
			resources = append(resources, strings.TrimSuffix(resource, "/"))
		} else if !slices.Contains([]string{"openid", "offline_access", "profile"}, s) {
			return "", fmt.Errorf("the scope %q must end with /.default", s)
		}
	}
	if len(resources) != 1 {
		return "", fmt.Errorf("%d resources in scope %q, not one", len(resources), scope)
	}
	return resources[0], nil
}

func (t EntraTemper) life() time.Duration {
	if t.TokenLife == 0 {
		return time.Hour
	}
	return t.TokenLife
}

func (c *Cloud) arrivedEntra(client string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entra.counts[client]++
	c.note("entra", Asked, client, "")
	at := place{AtEntra, client}
	return c.reached[at] + 1
}

// keep gives a token its text: a JSON web token, as Entra's are, since programs look into them for oid. Only the
// resource may judge one, and ours looks it up, so what stands for a signature is random.
func (c *Cloud) keep(t *entraToken) string {
	now := time.Now()
	claims := map[string]any{
		"aud": t.resource, "iss": "https://" + EntraHost + "/" + c.entra.begin.Tenant + "/", "tid": c.entra.begin.Tenant,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": t.expires.Unix(), "oid": t.holder.id, "sub": t.holder.id,
		"app_displayname": t.holder.name, "idtyp": "app", "jti": newGUID(),
	}
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(`{"typ":"JWT","alg":"RS256"}`)) + "." + encode(marshal(claims)) + "." + encode([]byte(randomHex(128)))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entra.tokens[text] = t
	return text
}

// bearer is the token that a request carries, where it is for one of resources and in date.
func (c *Cloud) bearer(r *http.Request, resources ...string) (*entraToken, error) {
	text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return nil, errors.New("no bearer token")
	}
	c.mu.Lock()
	t := c.entra.tokens[text]
	c.mu.Unlock()
	switch {
	case t == nil:
		return nil, errors.New("the token is not one of this directory")
	case time.Now().After(t.expires):
		return nil, errors.New("the token has expired")
	case !slices.Contains(resources, t.resource):
		return nil, fmt.Errorf("the token is for %s", t.resource)
	}
	return t, nil
}

func (h *entraHandler) refuse(w http.ResponseWriter, client string, err error) {
	no, ok := errors.AsType[*entraError](err)
	if !ok {
		no = &entraError{500, "server_error", 90033, err.Error()}
	}
	h.cloud.refuseAt(AtEntra, client)
	h.cloud.log("entra", Answered, client, no.Error())
	trace, correlation := newGUID(), newGUID()
	respondJSON(w, no.status, map[string]any{
		"error":             no.kind,
		"error_description": fmt.Sprintf("%s Trace ID: %s Correlation ID: %s Timestamp: %s", no.Error(), trace, correlation, time.Now().UTC().Format("2006-01-02 15:04:05Z")),
		"error_codes":       []int{no.code},
		"timestamp":         time.Now().UTC().Format("2006-01-02 15:04:05Z"),
		"trace_id":          trace,
		"correlation_id":    correlation,
	})
}

// retryAfter says how long to wait, rounded up, where there is something to say.
func retryAfter(w http.ResponseWriter, wait time.Duration) {
	if wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
	}
}

// httpStatus is the status in a Refusal's code, which may be an error code as the hub has them.
func httpStatus(code int) int {
	if code >= 1000 {
		return code / 1000
	}
	return code
}
