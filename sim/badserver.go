package sim

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"time"
)

// ServerFault is what is wrong with the servers of DPS, hub and resource manager: a device must not talk to them.
type ServerFault uint8

// The faults.
const (
	ServerGood      ServerFault = iota
	ServerExpired               // its certificate has expired
	ServerOtherName             // its certificate is for another host
	ServerForeign               // its certificate comes from a CA that nobody knows
	ServerTruncated             // the CA between its certificate and the root is not sent
	ServerTLS11                 // it speaks nothing newer than TLS 1.1
)

// spoil gives a server its fault. The caller holds c.mu.
func (c *Cloud) spoil(config *tls.Config) {
	switch fault := c.temper.Server; fault {
	case ServerGood:
	case ServerTLS11:
		config.MinVersion, config.MaxVersion, config.CipherSuites = tls.VersionTLS10, tls.VersionTLS11, nil
	default:
		cert, err := c.pki.badServer(fault)
		if err != nil {
			panic(err) // the system has no random numbers
		}
		config.Certificates = []tls.Certificate{cert}
	}
}

func (p *pki) badServer(fault ServerFault) (tls.Certificate, error) {
	ca := p.serverCA
	template := serverTemplate(ca.cert)
	var err error
	switch fault {
	case ServerExpired:
		template.NotAfter = time.Now().Add(-time.Hour)
	case ServerOtherName:
		template.DNSNames, template.IPAddresses = []string{"other.example"}, nil
	case ServerForeign:
		ca, err = newCA("Sim Foreign Root CA", nil)
	case ServerTruncated:
		ca, err = newCA("Sim Server Issuing CA", &ca)
	}
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := sign(template, ca, key.Public())
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// WebFault is what comes by HTTPS instead of an answer.
type WebFault uint8

// The faults.
const (
	WebGood WebFault = iota
	WebPage          // a page of HTML with status 200, as a captive portal has it
	WebHuge          // an answer of 64 MB
	WebSlow          // one byte a second, without end
	WebCut           // half an answer, and the connection ends
)

const hugeAnswer = 64 << 20

// spoiled serves the fault, where there is one. What it answers has happened: the request is not served.
func (h *webHandler) spoiled(w http.ResponseWriter, r *http.Request) bool {
	fault := h.link.cloud.weather().Web
	switch fault {
	case WebGood:
		return false
	case WebPage:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, estPage)
		return true
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	switch fault {
	case WebHuge:
		io.WriteString(w, `{"status":"`)
		part := strings.Repeat("x", 64<<10)
		for n, err := 0, error(nil); n < hugeAnswer && err == nil; n += len(part) {
			_, err = io.WriteString(w, part)
		}
	case WebSlow:
		for r.Context().Err() == nil && h.link.sleepUntil(time.Now().Add(time.Second)) {
			io.WriteString(w, " ")
			http.NewResponseController(w).Flush()
		}
	case WebCut:
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, `{"operationId":"4.`)
		http.NewResponseController(w).Flush()
	}
	panic(http.ErrAbortHandler)
}
