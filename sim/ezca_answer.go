package sim

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// ezcaShape is how a call answers with a certificate.
type ezcaShape uint8

const (
	ezcaWrapped ezcaShape = iota // {"Success", "Message"}, the message is the certificate in PEM
	ezcaFull                     // the chain as an object
	ezcaText                     // the certificate in PEM, bare
)

// certificate serves a call that asks for one.
func (h *ezcaHandler) certificate(w http.ResponseWriter, r *http.Request, call ezcaCall) {
	c := h.cloud
	all := c.weather().EZCA
	body, err := readEZCA(r, all)
	device := sniffDevice(body)
	t := all.of(device)
	n := c.arrivedEZCA(device, call.again)
	c.log("ezca", Asked, device, r.URL.Path)
	if no := c.httpTrouble(r.Context(), h.link, AtEZCA, device); no != nil {
		h.later(w, device, t, no.RetryAfter, &ezcaError{httpStatus(no.Code), no.Message})
		return
	}
	if n <= t.Silent {
		h.silence(r)
	}
	if status := t.busy(n); status != 0 {
		h.later(w, device, t, t.RetryAfter, &ezcaError{status, "as planned"})
		return
	}
	var x *x509.Certificate
	var wish *ezcaWish
	if err == nil {
		wish, x, err = h.issue(r, body, t, call, n)
	}
	if err != nil {
		h.later(w, device, t, 0, call.shape.failure(err))
		return
	}
	c.log("ezca", Issued, device, "serial "+x.SerialNumber.Text(16))
	if no := c.httpTrouble(r.Context(), h.link, AtEZCAIssued, device); no != nil {
		h.later(w, device, t, no.RetryAfter, &ezcaError{httpStatus(no.Code), no.Message})
		return
	}
	if c.lostEZCA(device, t) {
		panic(http.ErrAbortHandler)
	}
	h.respond(w, call.shape, x, wish, t, t.answer(n))
}

// failure wraps what is wrong with a request as its call does: {"Success": false} where the call knows that.
func (s ezcaShape) failure(err error) error {
	if no, ok := err.(*ezcaFailure); ok && s != ezcaWrapped {
		return &ezcaError{http.StatusBadRequest, "Error: " + no.text}
	}
	return err
}

func (h *ezcaHandler) silence(r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-h.link.gone:
	}
	panic(http.ErrAbortHandler)
}

// issue judges the request and signs the certificate.
func (h *ezcaHandler) issue(r *http.Request, body []byte, t EZCATemper, call ezcaCall, n int) (*ezcaWish, *x509.Certificate, error) {
	wish, who, err := call.judge(h, r, body, t)
	if err != nil {
		return nil, nil, err
	}
	if !h.cloud.spend(who) {
		return nil, nil, unauthorized("the token is used up")
	}
	c := h.cloud
	c.mu.Lock()
	defer c.mu.Unlock()
	x, err := c.signEZCA(wish, t, t.answer(n))
	if err != nil {
		return nil, nil, err
	}
	count := c.ezca.count(commonName(wish.subject))
	switch {
	case wish.old == nil:
		count.Issued++
	case bytes.Equal(wish.old.RawSubjectPublicKeyInfo, x.RawSubjectPublicKeyInfo):
		count.Renewed++
	default:
		count.Rekeyed++
	}
	return wish, x, nil
}

// later refuses, and remembers how long the device was asked to wait.
func (h *ezcaHandler) later(w http.ResponseWriter, device string, t EZCATemper, wait time.Duration, err error) {
	c := h.cloud
	c.mu.Lock()
	n := c.ezca.count(device)
	n.Refused++
	if wait > 0 {
		n.earliest = time.Now().Add(wait)
	}
	c.mu.Unlock()
	t.retryAfter(w, wait)
	h.refuse(w, AtEZCA, device, err)
}

// arrivedEZCA counts a request for a certificate, and returns how many it makes under this temper.
func (c *Cloud) arrivedEZCA(device string, again bool) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.ezca.count(device)
	if again {
		n.Renewals++
	} else {
		n.Requested++
	}
	if time.Now().Before(n.earliest) {
		n.Early++
	}
	n.Arrivals = append(n.Arrivals, time.Now())
	return c.reached[place{AtEZCA, device}] + 1
}

// lostEZCA reports whether the temper loses this answer.
func (c *Cloud) lostEZCA(device string, t EZCATemper) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reached[place{AtEZCAIssued, device}] <= t.LostResult
}

func (h *ezcaHandler) respond(w http.ResponseWriter, s ezcaShape, x *x509.Certificate, wish *ezcaWish, t EZCATemper, a EZCAAnswer) {
	if a == EZCAOldOne && wish.old != nil {
		x = wish.old
	}
	contentType, body := s.write(a, h.chainOf(x))
	switch a {
	case EZCAPage:
		contentType, body = "text/html; charset=utf-8", []byte(estPage)
	case EZCAError:
		contentType, body = "text/plain; charset=utf-8", []byte("Error: the certificate authority cannot be reached")
	case EZCAFailure:
		body = marshal(apiResult{false, "the certificate authority cannot be reached"})
	case EZCADouble:
		body = marshal(string(body))
	case EZCAEmpty:
		body = nil
	case EZCARubbish:
		body = []byte("-----BEGIN")
	case EZCAHuge:
		body = marshal(apiResult{true, strings.Repeat("QUFB", 1<<20)})
	}
	status := http.StatusOK
	if t.Created {
		status = http.StatusCreated
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	switch a {
	case EZCATruncated:
		w.Write(body[:len(body)/2])
		panic(http.ErrAbortHandler)
	case EZCASlow:
		drip(w, body)
	default:
		w.Write(body)
	}
}

// chainOf is x, its issuing CA and the root.
func (h *ezcaHandler) chainOf(x *x509.Certificate) []*x509.Certificate {
	c := h.cloud
	c.mu.Lock()
	defer c.mu.Unlock()
	by := c.ezca.ca.now
	if old := c.ezca.ca.before; old != nil && x.CheckSignatureFrom(old.issuing.cert) == nil {
		by = *old
	}
	return []*x509.Certificate{x, by.issuing.cert, by.root.cert}
}

func (s ezcaShape) write(a EZCAAnswer, chain []*x509.Certificate) (contentType string, body []byte) {
	text := func(x *x509.Certificate) string { return a.armour(x) }
	leaf := text(chain[0])
	if a == EZCAChain {
		leaf += text(chain[1])
	}
	switch s {
	case ezcaText:
		return "text/plain; charset=utf-8", []byte(leaf)
	case ezcaWrapped:
		return "application/json; charset=utf-8", marshal(apiResult{true, leaf})
	}
	members := map[string]string{"CertificatePEM": leaf, "IssuingCACertificate": text(chain[1]), "RootCertificate": text(chain[2])}
	switch a {
	case EZCANoRoot:
		delete(members, "RootCertificate")
	case EZCAEmptyRoot:
		members["RootCertificate"] = ""
	}
	b, err := json.Marshal(members)
	if err != nil {
		panic(err) // only strings come here
	}
	return "application/json; charset=utf-8", b
}

// armour writes a certificate in PEM, or as a wants it.
func (a EZCAAnswer) armour(x *x509.Certificate) string {
	switch a {
	case EZCANoArmour:
		return base64.StdEncoding.EncodeToString(x.Raw)
	case EZCACRLF:
		return strings.ReplaceAll(armour(x), "\n", "\r\n")
	}
	return armour(x)
}
