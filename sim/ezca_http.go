package sim

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"
)

const maxEZCABody = 1 << 20

// ezcaError is an answer that says no, in plain text: EZCA has no error codes.
type ezcaError struct {
	status int
	text   string
}

func (e *ezcaError) Error() string { return e.text }

func badEZCA(format string, a ...any) error {
	return &ezcaError{http.StatusBadRequest, fmt.Sprintf(format, a...)}
}

// ezcaFailure is an answer that says no with status 200, where the call answers {"Success", "Message"}.
type ezcaFailure struct{ text string }

func (e *ezcaFailure) Error() string { return e.text }

func (h *ezcaHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/EST/") {
		if !strings.HasPrefix(r.URL.Path, h.cloud.EZCAESTPath()[:len("/EST/")+2*36+1]) {
			http.NotFound(w, r)
			return
		}
		h.est.ServeHTTP(w, r)
		return
	}
	t := h.cloud.weather().EZCA
	w.Header().Set("Date", time.Now().Add(t.ClockOffset).UTC().Format(http.TimeFormat))
	name, ok := strings.CutPrefix(r.URL.Path, "/api/")
	if call, is := ezcaIssues[r.Method+" "+name]; ok && is && !t.lacks(name) {
		h.certificate(w, r, call)
		return
	}
	if answer, is := ezcaAnswers[r.Method+" "+name]; ok && is {
		h.other(w, r, t, answer)
		return
	}
	http.NotFound(w, r)
}

func (t EZCATemper) lacks(name string) bool {
	return t.NoV3 && name == "Certificates/RenewCertificateV3" || t.NoV2 && name == "Certificates/RenewCertificateV2" ||
		t.NoV1 && name == "Certificates/RenewCertificate"
}

// ezcaAnswers are the calls that ask for no certificate: each returns its answer's JSON.
var ezcaAnswers = map[string]func(*ezcaHandler, *http.Request, []byte) (any, error){
	"GET CA/GetAvailableSSLCAs":           (*ezcaHandler).available,
	"GET CA/GetSSLCA":                     (*ezcaHandler).oneCA,
	"GET CA/GetMyCAs":                     (*ezcaHandler).authorities,
	"POST CA/RegisterNewDomain":           (*ezcaHandler).registerDomain,
	"GET CA/GetMyDomains":                 (*ezcaHandler).domains,
	"POST CA/RevokeCertificateV2":         (*ezcaHandler).revokeOther,
	"GET CA/GetMyCertificatesV2Paginated": (*ezcaHandler).certificates,
	"GET Certificates/RevokeCertificate":  (*ezcaHandler).revokeSelf,
}

// other serves a call that asks for no certificate.
func (h *ezcaHandler) other(w http.ResponseWriter, r *http.Request, t EZCATemper, answer func(*ezcaHandler, *http.Request, []byte) (any, error)) {
	if no := h.cloud.httpTrouble(r.Context(), h.link, AtEZCAInfo, ""); no != nil {
		t.retryAfter(w, no.RetryAfter)
		h.refuse(w, AtEZCAInfo, "", &ezcaError{httpStatus(no.Code), no.Message})
		return
	}
	if t.InfoStatus != 0 {
		t.retryAfter(w, t.RetryAfter)
		h.refuse(w, AtEZCAInfo, "", &ezcaError{t.InfoStatus, "as planned"})
		return
	}
	body, err := readEZCA(r, t)
	if err == nil {
		var v any
		if v, err = answer(h, r, body); err == nil {
			respondJSON(w, http.StatusOK, v)
			return
		}
	}
	h.refuse(w, AtEZCAInfo, "", err)
}

// readEZCA reads a body of JSON, where the method has one.
func readEZCA(r *http.Request, t EZCATemper) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxEZCABody+1))
	if err != nil || len(body) > maxEZCABody {
		return nil, &ezcaError{http.StatusRequestEntityTooLarge, "the request is too large"}
	}
	if r.Method != http.MethodPost {
		return body, nil
	}
	given := r.Header.Get("Content-Type")
	media, _, err := mime.ParseMediaType(given)
	if err != nil || media != "application/json" || t.ExactType && given != media {
		return body, &ezcaError{http.StatusUnsupportedMediaType, fmt.Sprintf("content type %q", given)}
	}
	return body, nil
}

func (t EZCATemper) retryAfter(w http.ResponseWriter, wait time.Duration) {
	if wait > 0 && t.RetryDate {
		w.Header().Set("Retry-After", time.Now().Add(t.ClockOffset+wait+time.Second-1).UTC().Format(http.TimeFormat))
		return
	}
	retryAfter(w, wait)
}

// refuse answers with plain text, or with {"Success": false} and 200.
func (h *ezcaHandler) refuse(w http.ResponseWriter, p Point, device string, err error) {
	h.cloud.refuseAt(p, device)
	if no, ok := errors.AsType[*ezcaFailure](err); ok {
		h.cloud.log("ezca", Answered, device, "200 "+no.text)
		respondJSON(w, http.StatusOK, apiResult{false, no.text})
		return
	}
	no, ok := errors.AsType[*ezcaError](err)
	if !ok {
		no = &ezcaError{http.StatusInternalServerError, err.Error()}
	}
	h.cloud.log("ezca", Answered, device, fmt.Sprintf("%d %s", no.status, no.text))
	if no.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(no.status)
	io.WriteString(w, no.text)
}

// apiResult is one of EZCA's three shapes of an answer.
type apiResult struct {
	Success bool
	Message string
}

// listed is an apiResult whose message is JSON.
func listed(v any) apiResult {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // only our own structures come here
	}
	return apiResult{true, string(b)}
}

func armour(x *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: x.Raw}))
}
