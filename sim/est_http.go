package sim

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const maxESTBody = 64 << 10

// estPath is where EST is: RFC 7030's place, with a label or without, and EZCA's.
var estPath = regexp.MustCompile(`^(?:/EST/[^/]+/[^/]+/[^/]+)?/\.well-known/est(?:/([^/]+))?/([a-z]+)$`)

// estHandler serves one connection.
type estHandler struct {
	cloud *Cloud
	link  *link
	ca    *estCA
}

// estError is an answer that says no.
type estError struct {
	status int
	text   string
}

func (e *estError) Error() string { return e.text }

func (h *estHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t := h.ca.weather(h.cloud.weather())
	w.Header().Set("Date", time.Now().Add(t.ClockOffset).UTC().Format(http.TimeFormat))
	if t.RedirectTo != "" && r.Header.Get("Referer") == "" { // clients say whence they come
		t.redirect(w, r)
		return
	}
	if _, _, ok := r.BasicAuth(); ok {
		h.seen(h.link.name, func(n *ESTCount) { n.Passwords++ })
	}
	path := estPath.FindStringSubmatch(r.URL.Path)
	if path == nil {
		http.NotFound(w, r)
		return
	}
	switch op := path[2]; {
	case op == "cacerts" && r.Method == http.MethodGet:
		h.info(w, r, t, func(n *ESTCount) { n.CACerts++ }, h.authorities)
	case op == "csrattrs" && r.Method == http.MethodGet:
		h.info(w, r, t, func(n *ESTCount) { n.Attributes++ }, attributes)
	case op == "simpleenroll" && r.Method == http.MethodPost:
		h.enroll(w, r, t, false)
	case op == "simplereenroll" && r.Method == http.MethodPost && !t.NoReenroll:
		h.enroll(w, r, t, true)
	default:
		http.NotFound(w, r)
	}
}

func (t ESTTemper) redirect(w http.ResponseWriter, r *http.Request) {
	code := t.RedirectCode
	if code == 0 {
		code = http.StatusTemporaryRedirect
	}
	w.Header().Set("Location", t.RedirectTo+r.URL.Path)
	w.WriteHeader(code)
}

// info serves what is for everybody.
func (h *estHandler) info(w http.ResponseWriter, r *http.Request, t ESTTemper, count func(*ESTCount), serve func(http.ResponseWriter, ESTTemper)) {
	h.cloud.mu.Lock()
	count(h.ca.count(h.link.name))
	h.cloud.mu.Unlock()
	if no := h.cloud.httpTrouble(r.Context(), h.link, AtESTInfo, h.link.name); no != nil {
		h.refuse(w, h.link.name, &estError{no.Code, no.Message}, no.RetryAfter, t)
		return
	}
	if t.InfoStatus != 0 {
		h.refuse(w, h.link.name, &estError{t.InfoStatus, "as planned"}, t.RetryAfter, t)
		return
	}
	if _, err := h.basic(r); err != nil && t.BasicForInfo {
		h.refuse(w, h.link.name, err, 0, t)
		return
	}
	serve(w, t)
}

func (h *estHandler) authorities(w http.ResponseWriter, t ESTTemper) {
	h.cloud.mu.Lock()
	all := h.ca.authorities()
	h.cloud.mu.Unlock()
	respond(w, t.Info, http.StatusOK, "application/pkcs7-mime", t.Encoding, all...)
}

func attributes(w http.ResponseWriter, t ESTTemper) {
	if t.Attributes == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Content-Type", "application/csrattrs")
	io.WriteString(w, base64.StdEncoding.EncodeToString(t.Attributes))
}

// enroll serves simpleenroll and simplereenroll.
func (h *estHandler) enroll(w http.ResponseWriter, r *http.Request, t ESTTemper, again bool) {
	request, body, err := h.read(r, t)
	device := h.link.name
	if request != nil {
		device = request.Subject.CommonName
	}
	c := h.cloud
	c.arrivedEST(h.ca, device, body, again)
	c.log(h.ca.service, Asked, device, r.URL.Path)
	if no := c.httpTrouble(r.Context(), h.link, AtESTEnroll, device); no != nil {
		h.refuse(w, device, &estError{no.Code, no.Message}, no.RetryAfter, t)
		return
	}
	if err == nil {
		err = h.admit(r, request, t, again)
	}
	if err != nil {
		h.refuse(w, device, err, t.RetryAfter, t)
		return
	}
	if status := t.busy(c.reachedEST(device)); status != 0 {
		h.refuse(w, device, &estError{status, "as planned"}, t.RetryAfter, t)
		return
	}
	h.issue(w, r, request, t, device)
}

// reachedEST is how often device came to enroll under this temper.
func (c *Cloud) reachedEST(device string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reached[place{AtESTEnroll, device}]
}

// read takes the request apart: PKCS #10 in base64 (RFC 8951, 3).
func (h *estHandler) read(r *http.Request, t ESTTemper) (*x509.CertificateRequest, []byte, error) {
	given := r.Header.Get("Content-Type")
	media, _, err := mime.ParseMediaType(given)
	if err != nil || media != "application/pkcs10" || t.ExactType && given != media {
		return nil, nil, &estError{http.StatusUnsupportedMediaType, fmt.Sprintf("content type %q", given)}
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxESTBody+1))
	if err != nil || len(body) > maxESTBody {
		return nil, body, &estError{http.StatusRequestEntityTooLarge, "the request is too large"}
	}
	text := strings.NewReplacer("\r", "", "\n", "", " ", "", "\t", "").Replace(string(body))
	der, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, body, &estError{http.StatusBadRequest, "the request is not base64: " + err.Error()}
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, body, &estError{http.StatusBadRequest, "the request is not PKCS #10: " + err.Error()}
	}
	return request, body, nil
}

func (h *estHandler) issue(w http.ResponseWriter, r *http.Request, request *x509.CertificateRequest, t ESTTemper, device string) {
	c := h.cloud
	cert, err := c.certifyEST(h.ca, request, t)
	if err != nil {
		h.refuse(w, device, err, 0, t)
		return
	}
	h.seen(device, func(n *ESTCount) { n.issued(h.link.chain, cert) })
	c.log(h.ca.service, Issued, device, "serial "+cert.SerialNumber.Text(16))
	if no := c.httpTrouble(r.Context(), h.link, AtESTIssued, device); no != nil {
		h.refuse(w, device, &estError{no.Code, no.Message}, no.RetryAfter, t)
		return
	}
	status := http.StatusOK
	if t.Created {
		status = http.StatusCreated
	}
	respond(w, t.Answer, status, "application/pkcs7-mime; smime-type=certs-only", t.Encoding, h.answer(cert, t)...)
}

// answer is the certificate alone (RFC 7030, 4.2.3), unless the temper wants otherwise.
func (h *estHandler) answer(cert *x509.Certificate, t ESTTemper) []*x509.Certificate {
	switch {
	case t.Answer == ESTWithChain:
		return []*x509.Certificate{h.cloud.estRoots(h.ca)[0], h.cloud.estIssuing(h.ca), cert}
	case t.Answer == ESTOldOne && len(h.link.chain) > 0:
		return h.link.chain[:1]
	}
	return []*x509.Certificate{cert}
}

func (c *Cloud) estIssuing(a *estCA) *x509.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	return a.now.issuing.cert
}

// refuse answers with an error, or with 202.
func (h *estHandler) refuse(w http.ResponseWriter, device string, err error, wait time.Duration, t ESTTemper) {
	no, ok := errors.AsType[*estError](err)
	if !ok {
		no = &estError{http.StatusInternalServerError, err.Error()}
	}
	h.cloud.refusedEST(h.ca, device, no.status, wait)
	h.cloud.log(h.ca.service, Answered, device, fmt.Sprintf("%d %s", no.status, no.text))
	if wait > 0 {
		w.Header().Set("Retry-After", t.retryAfter(wait))
	}
	if no.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="EST"`)
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(no.status)
	fmt.Fprintf(w, "%d %s\n", no.status, no.text)
}

// retryAfter rounds up: neither form has fractions.
func (t ESTTemper) retryAfter(wait time.Duration) string {
	if t.RetryDate {
		return time.Now().Add(t.ClockOffset + wait + time.Second - 1).UTC().Format(http.TimeFormat)
	}
	return strconv.Itoa(int((wait + time.Second - 1) / time.Second))
}
