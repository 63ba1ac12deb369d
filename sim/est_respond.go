package sim

import (
	"bytes"
	"crypto/x509"
	"net/http"
	"strconv"
	"time"
)

const estPage = "<!DOCTYPE html><html><head><title>Welcome</title></head><body>Please accept the terms of this network.</body></html>\n"

// respond answers with certificates, in the way that a says.
func respond(w http.ResponseWriter, a ESTAnswer, status int, contentType string, e ESTEncoding, certs ...*x509.Certificate) {
	body := e.write(certs...)
	switch a {
	case ESTPage:
		contentType, body = "text/html; charset=utf-8", []byte(estPage)
	case ESTEmpty:
		body = nil
	case ESTNoCerts:
		body = e.write()
	case ESTRubbish:
		body = []byte("TWFuIGlzIGRpc3Rpbmd1aXNoZWQ=")
	case ESTHuge:
		body = bytes.Repeat([]byte("QUFB"), 1<<20)
	case ESTWrongType:
		contentType = "text/plain"
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Transfer-Encoding", "base64")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	switch a {
	case ESTTruncated:
		w.Write(body[:len(body)/2])
		panic(http.ErrAbortHandler)
	case ESTSlow:
		drip(w, body)
	default:
		w.Write(body)
	}
}

// drip writes a byte in two seconds.
func drip(w http.ResponseWriter, body []byte) {
	for i := range body {
		if _, err := w.Write(body[i : i+1]); err != nil {
			return
		}
		if http.NewResponseController(w).Flush() != nil {
			return
		}
		time.Sleep(2 * time.Second)
	}
}
