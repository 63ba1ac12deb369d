package sim

import (
	"crypto/subtle"
	"encoding/xml"
	"net/http"
	"strings"
	"time"
)

// BlobHost is the storage account of the hub.
const BlobHost = "simhub.blob.core.windows.net"

// maxBlob is what the simulator keeps of a file in memory; a storage account takes gigabytes.
const maxBlob = 64 << 20

// BlobAddr is the host:port where the storage account listens for HTTPS, "" after New.
func (c *Cloud) BlobAddr() string { return c.addr(c.blobs) }

// blobError is an answer that says no ("Status and error codes" of Azure Storage).
type blobError struct {
	status     int
	code, text string
}

// blobHandler is "Put Blob" of the storage account, for who comes with a shared access signature and with nothing else:
// a credential of the device has no business here.
func (c *Cloud) blobHandler(l *link) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if no := c.putBlob(l, w, r); no != nil {
			c.log("blob", Answered, "", no.code+": "+no.text)
			w.Header().Set("x-ms-error-code", no.code)
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(no.status)
			xml.NewEncoder(w).Encode(struct {
				XMLName xml.Name `xml:"Error"`
				Code    string
				Message string
			}{Code: no.code, Message: no.text})
		}
	})
}

func (c *Cloud) putBlob(l *link, w http.ResponseWriter, r *http.Request) *blobError {
	switch {
	case len(l.chain) > 0 || r.Header.Get("Authorization") != "":
		return &blobError{http.StatusBadRequest, "InvalidAuthenticationInfo", "a credential of the device was presented to the storage account"}
	case r.Method != http.MethodPut:
		return &blobError{http.StatusMethodNotAllowed, "UnsupportedHttpVerb", r.Method}
	case r.Header.Get("x-ms-blob-type") != asBlob:
		return &blobError{http.StatusBadRequest, "MissingRequiredHeader", "x-ms-blob-type"}
	case r.ContentLength < 0:
		return &blobError{http.StatusLengthRequired, "MissingContentLengthHeader", "Content-Length"}
	case r.ContentLength > maxBlob:
		return &blobError{http.StatusRequestEntityTooLarge, "RequestBodyTooLarge", "the simulator keeps 64 MB"}
	}
	b := c.berth(r)
	if b == nil {
		return &blobError{http.StatusForbidden, "AuthenticationFailed", "the shared access signature does not open this place"}
	}
	if no := c.serviceTrouble(r, AtBlob, b.device.id); no != nil {
		return &blobError{httpStatus(no.Code), "ServerBusy", no.Message}
	}
	body, err := readBody(r, maxBlob)
	if err != nil {
		return &blobError{http.StatusBadRequest, "IncompleteBody", err.Error()}
	}
	c.mu.Lock()
	b.arrived = &Upload{Blob: b.blob, Body: body, Type: r.Header.Get("Content-Type")}
	c.mu.Unlock()
	w.Header().Set("ETag", `"`+freshTag()+`"`)
	w.WriteHeader(http.StatusCreated)
	return nil
}

// berth is the place that the request's signature opens, or nil.
func (c *Cloud) berth(r *http.Request) *berth {
	c.mu.Lock()
	defer c.mu.Unlock()
	blob, ok := strings.CutPrefix(r.URL.Path, "/"+container+"/")
	for _, b := range c.berths {
		if ok && b.blob == blob && subtle.ConstantTimeCompare([]byte(b.token), []byte("?"+r.URL.RawQuery)) == 1 && time.Now().Before(b.ends) {
			return b
		}
	}
	return nil
}
