package sim

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// What a device does to upload a file ("Upload files with IoT Hub").
const (
	AtUpload   Point = "upload"   // a device asked for a place, not yet looked at
	AtBlob     Point = "blob"     // the file is on its way, not yet looked at
	AtUploaded Point = "uploaded" // the device said how it went, not yet looked at
)

// The events of an upload.
const (
	Uploading Kind = "uploading" // a place was granted; Detail has its name
	Uploaded  Kind = "uploaded"  // the device has said how it went; Detail has that
)

const (
	maxUploads  = 10          // of a device at a time: 403006 beyond that
	uploadLife  = time.Hour   // of a place that nobody gives back
	uploadLimit = 8 << 10     // of the requests to the hub
	container   = "uploads"   // of the storage account
	asBlob      = "BlockBlob" // the one kind of blob that is taken
)

// Upload is a file that a device has uploaded, or has said that it could not.
type Upload struct {
	Blob        string // its name in the container: device/name
	Body        []byte // nil where none has arrived
	Type        string // its media type
	Success     bool   // what the device said
	StatusCode  int
	Description string
}

// berth is where one file may be put, until its end.
type berth struct {
	device  *device
	blob    string
	token   string // with the '?'
	ends    time.Time
	arrived *Upload // nil before
}

// Uploaded are the files of device whose upload has been concluded, in that order.
func (c *Cloud) Uploaded(device string) []Upload {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.uploaded[device])
}

// UploadsOpen is how many places of device wait for their file, or for word of it.
func (c *Cloud) UploadsOpen(device string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.openUploads(c.devices[device])
}

// openUploads needs c.mu to be held.
func (c *Cloud) openUploads(d *device) int {
	n, now := 0, time.Now()
	for id, b := range c.berths {
		switch {
		case now.After(b.ends):
			delete(c.berths, id)
		case b.device == d:
			n++
		}
	}
	return n
}

// files serves a device that uploads: POST /devices/{id}/files and …/files/notifications, where Microsoft's SDK for
// Node.js puts the correlation ID behind the path. The device comes with its certificate or its token.
func (q *registryRequest) files(l *link, rest []string) *registryError {
	if no := q.uploader(l); no != nil {
		return no
	}
	if q.r.Method != http.MethodPost {
		return &registryError{status: http.StatusMethodNotAllowed, name: "MethodNotAllowed", text: q.r.Method}
	}
	body, err := readBody(q.r, uploadLimit)
	if err != nil {
		return badIdentity(err)
	}
	switch {
	case len(rest) == 0:
		return q.trouble(AtUpload, func() *registryError { return q.grant(body) })
	case rest[0] == "notifications":
		return q.trouble(AtUploaded, func() *registryError { return q.conclude(body, strings.Join(rest[1:], "/")) })
	}
	return &registryError{status: http.StatusNotFound, name: "ResourceNotFound", text: "there is no such path"}
}

// uploader says why the one who asks is not the device, or nil.
func (q *registryRequest) uploader(l *link) *registryError {
	var t *token
	var err error
	if given := q.r.Header.Get("Authorization"); given != "" {
		t, err = parseToken(given)
	}
	if err == nil {
		q.cloud.mu.Lock()
		err = q.cloud.admits(q.cloud.devices[q.device], l.chain, t)
		q.cloud.mu.Unlock()
	}
	if err != nil {
		return &registryError{status: http.StatusUnauthorized, name: "IotHubUnauthorizedAccess", text: "Unauthorized: " + err.Error()}
	}
	if v := q.r.URL.Query().Get("api-version"); !versionForm.MatchString(v) {
		return &registryError{status: http.StatusBadRequest, name: "InvalidProtocolVersion", text: "api-version " + v}
	}
	return nil
}

// trouble lets the temper speak first.
func (q *registryRequest) trouble(p Point, then func() *registryError) *registryError {
	if no := q.cloud.serviceTrouble(q.r, p, q.device); no != nil {
		return &registryError{status: httpStatus(no.Code), name: throttleName(no.Code), text: no.Message, wait: no.RetryAfter}
	}
	q.cloud.mu.Lock()
	defer q.cloud.mu.Unlock()
	return then()
}

// strictly reads one JSON object without members that nobody knows.
func strictly(body []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("the body: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("the body is more than an object")
	}
	return nil
}

// grant gives a place for a file.
func (q *registryRequest) grant(body []byte) *registryError {
	var in struct {
		BlobName string `json:"blobName"`
	}
	if err := strictly(body, &in); err != nil {
		return badIdentity(err)
	}
	if in.BlobName == "" || len(in.BlobName) > 1024 {
		return badIdentity(fmt.Errorf("blobName of %d characters", len(in.BlobName)))
	}
	c, d := q.cloud, q.cloud.devices[q.device]
	if n := c.openUploads(d); n >= maxUploads {
		return &registryError{status: http.StatusForbidden, name: "DeviceMaximumActiveFileUploadLimitExceeded",
			text: fmt.Sprintf("403006 number of active file uploads is %d", n)}
	}
	b := &berth{device: d, blob: d.id + "/" + in.BlobName, ends: time.Now().Add(uploadLife)}
	b.token = "?sv=2018-03-28&sr=b&sig=" + url.QueryEscape(base64.StdEncoding.EncodeToString(newSecret(32))) +
		"&se=" + url.QueryEscape(b.ends.UTC().Format(time.RFC3339)) + "&sp=rw"
	id := base64.StdEncoding.EncodeToString(newSecret(24))
	c.berths[id] = b
	c.note("hub", Uploading, d.id, b.blob)
	writeJSON(q.w, http.StatusOK, marshal(map[string]string{
		"correlationId": id, "hostName": BlobHost, "containerName": container, "blobName": b.blob, "sasToken": b.token,
	}))
	return nil
}

// conclude hears how an upload went, and frees its place. What the hub says of one that it does not know is not
// documented; that it does not believe in a file that has not arrived is stricter than it is known to be.
func (q *registryRequest) conclude(body []byte, named string) *registryError {
	var in struct {
		CorrelationID     string `json:"correlationId"`
		IsSuccess         *bool  `json:"isSuccess"`
		StatusCode        int    `json:"statusCode"`
		StatusDescription string `json:"statusDescription"`
	}
	if err := strictly(body, &in); err != nil {
		return badIdentity(err)
	}
	id := in.CorrelationID
	if id == "" {
		id = named
	}
	c := q.cloud
	b := c.berths[id]
	switch {
	case b == nil || b.device.id != q.device:
		return &registryError{status: http.StatusNotFound, name: "FileUploadNotFound", text: "there is no such correlationId"}
	case in.IsSuccess == nil:
		return badIdentity(fmt.Errorf("isSuccess is missing"))
	case *in.IsSuccess && b.arrived == nil:
		return badIdentity(fmt.Errorf("isSuccess, and no file has arrived"))
	}
	delete(c.berths, id)
	u := Upload{Blob: b.blob}
	if b.arrived != nil {
		u = *b.arrived
	}
	u.Success, u.StatusCode, u.Description = *in.IsSuccess, in.StatusCode, in.StatusDescription
	c.uploaded[q.device] = append(c.uploaded[q.device], u)
	c.note("hub", Uploaded, q.device, fmt.Sprintf("%s: %t, %d bytes", u.Blob, u.Success, len(u.Body)))
	q.w.WriteHeader(http.StatusNoContent)
	return nil
}
