package sim

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// registryHandler serves the hub's identity registry, "Devices" and "Modules" of the IoT Hub service API.
func (c *Cloud) registryHandler(l *link) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parts := segments(r.URL)
		q := &registryRequest{cloud: c, w: w, r: r}
		if no := q.serve(l, parts); no != nil {
			c.refuseAt(AtRegistry, q.id())
			c.log("hub", Answered, q.id(), no.name+": "+no.text)
			q.refuse(no)
		}
	})
}

// segments takes a path apart. An escaped slash belongs to its segment; a client of Microsoft's lists /devices/.
func segments(u *url.URL) []string {
	parts := strings.Split(strings.Trim(u.EscapedPath(), "/"), "/")
	for i, p := range parts {
		parts[i], _ = url.PathUnescape(p) // it was valid when the request was read
	}
	return parts
}

// registryRequest is one request of a program.
type registryRequest struct {
	cloud          *Cloud
	w              http.ResponseWriter
	r              *http.Request
	device, module string
}

// registryError is an answer that says no, by the names of the service SDK's error codes.
type registryError struct {
	status     int
	name, text string
	wait       time.Duration
}

func (q *registryRequest) id() string {
	if q.module != "" {
		return q.device + "/" + q.module
	}
	return q.device
}

// refuse answers as the hub was seen to: the code in the message and in a header.
func (q *registryRequest) refuse(no *registryError) {
	retryAfter(q.w, no.wait)
	q.w.Header().Set("iothub-errorcode", no.name)
	writeJSON(q.w, no.status, marshal(map[string]string{
		"Message":          "ErrorCode:" + no.name + ";" + no.text,
		"ExceptionMessage": "Tracking ID:" + randomHex(16) + "-G:2-TimeStamp:" + time.Now().UTC().Format("01/02/2006 15:04:05"),
	}))
}

func (q *registryRequest) serve(l *link, parts []string) *registryError {
	if parts[0] != "devices" {
		return &registryError{status: http.StatusNotFound, name: "ResourceNotFound", text: "there is no such path"}
	}
	if len(parts) > 1 {
		q.device = parts[1]
	}
	if len(parts) > 2 && parts[2] == "files" {
		return q.files(l, parts[3:])
	}
	if len(parts) > 3 {
		q.module = parts[3]
	}
	right := writeRegistry
	if q.r.Method == http.MethodGet {
		right = readRegistry
	}
	if err := q.cloud.permit(q.r, q.cloud.hubPolicies, right, HubHost, "https://iothubs.azure.net"); err != nil {
		return &registryError{status: http.StatusUnauthorized, name: "IotHubUnauthorizedAccess", text: "Unauthorized: " + err.Error()}
	}
	if v := q.r.URL.Query().Get("api-version"); !versionForm.MatchString(v) {
		return &registryError{status: http.StatusBadRequest, name: "InvalidProtocolVersion", text: "api-version " + v}
	}
	if no := q.cloud.serviceTrouble(q.r, AtRegistry, q.id()); no != nil {
		return &registryError{status: httpStatus(no.Code), name: throttleName(no.Code), text: no.Message, wait: no.RetryAfter}
	}
	return q.route(parts)
}

func throttleName(code int) string {
	switch httpStatus(code) {
	case http.StatusTooManyRequests:
		return "ThrottlingException"
	case http.StatusServiceUnavailable:
		return "ServiceUnavailable"
	}
	return "ServerError"
}

func (q *registryRequest) route(parts []string) *registryError {
	switch {
	case len(parts) == 1 && q.r.Method == http.MethodGet:
		return q.list()
	case len(parts) == 3 && parts[2] == "modules" && q.r.Method == http.MethodGet:
		return q.modules()
	case len(parts) == 2, len(parts) == 4 && parts[2] == "modules":
		return q.one()
	}
	return &registryError{status: http.StatusNotFound, name: "ResourceNotFound", text: "there is no such path"}
}

// one serves one device or module.
func (q *registryRequest) one() *registryError {
	if !deviceID.MatchString(q.device) || q.module != "" && !deviceID.MatchString(q.module) {
		return badIdentity(errors.New("the ID is not one"))
	}
	body, err := readBody(q.r, maxBody)
	if err != nil {
		return badIdentity(err)
	}
	c := q.cloud
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.devices[q.id()]
	if q.module != "" && c.devices[q.device] == nil {
		return q.absent(q.device)
	}
	switch q.r.Method {
	case http.MethodPut:
		return q.put(d, body)
	case http.MethodGet, http.MethodDelete:
		if d == nil {
			return q.absent(q.id())
		}
	default:
		return &registryError{status: http.StatusMethodNotAllowed, name: "MethodNotAllowed", text: q.r.Method}
	}
	if q.r.Method == http.MethodGet {
		q.show(d)
		return nil
	}
	if no := q.matches(d); no != nil {
		return no
	}
	c.remove(d)
	c.notify()
	q.w.WriteHeader(http.StatusNoContent)
	return nil
}

func badIdentity(err error) *registryError {
	return &registryError{status: http.StatusBadRequest, name: "ArgumentInvalid", text: err.Error()}
}

func (q *registryRequest) absent(id string) *registryError {
	if strings.Contains(id, "/") {
		return &registryError{status: http.StatusNotFound, name: "ModuleNotFound", text: "there is no module " + id}
	}
	return &registryError{status: http.StatusNotFound, name: "DeviceNotFound", text: "there is no device " + id}
}

// matches holds If-Match against the entry. Without one a request is for whatever is there.
func (q *registryRequest) matches(d *device) *registryError {
	given := strings.Trim(strings.TrimPrefix(q.r.Header.Get("If-Match"), "W/"), `"`)
	if given == "" || given == "*" || given == d.entry.etag {
		return nil
	}
	return &registryError{status: http.StatusPreconditionFailed, name: "PreconditionFailed", text: "the etag is another one"}
}

// put creates an entry, or changes it: a request without If-Match is for a new one ("Devices - Create Or Update Identity").
func (q *registryRequest) put(d *device, body []byte) *registryError {
	b, auth, err := parseIdentity(body, q.device, q.module)
	if err != nil {
		return badIdentity(err)
	}
	update := q.r.Header.Get("If-Match") != ""
	switch {
	case d == nil && update:
		return q.absent(q.id())
	case d == nil:
		d = q.cloud.place(q.id())
	case !update && q.module != "":
		return &registryError{status: http.StatusConflict, name: "ModuleAlreadyExistsOnDevice", text: "a module with ID '" + q.module + "' is already registered"}
	case !update:
		return &registryError{status: http.StatusConflict, name: "DeviceAlreadyExists", text: "A device with ID '" + q.device + "' is already registered."}
	}
	if no := q.matches(d); no != nil {
		return no
	}
	if auth.zero() && d.auth.Keys == nil && d.auth.Thumbprints == nil {
		auth = d.auth // the CA by which the DPS has let it in
	}
	d.auth, d.entry.managedBy, d.entry.scope = auth, b.ManagedBy, b.DeviceScope
	if b.StatusReason != nil {
		d.entry.reason = *b.StatusReason
	}
	if b.Capabilities != nil {
		d.entry.edge = b.Capabilities.IotEdge
	}
	q.cloud.setDisabled(d, b.Status == "disabled")
	q.cloud.notify()
	q.show(d)
	return nil
}

func (q *registryRequest) show(d *device) {
	q.w.Header().Set("ETag", `"`+d.entry.etag+`"`)
	writeJSON(q.w, http.StatusOK, marshal(d.describe()))
}

// list is "Devices - Get Devices": the first of them.
func (q *registryRequest) list() *registryError {
	top := 1000
	if text := q.r.URL.Query().Get("top"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1000 {
			return badIdentity(errors.New("top must be 1 to 1000"))
		}
		top = n
	}
	all := q.all(func(id string) bool { return !strings.Contains(id, "/") })
	writeJSON(q.w, http.StatusOK, marshal(all[:min(top, len(all))]))
	return nil
}

// modules is "Modules - Get Modules On Device".
func (q *registryRequest) modules() *registryError {
	q.cloud.mu.Lock()
	known := q.cloud.devices[q.device] != nil
	q.cloud.mu.Unlock()
	if !known {
		return q.absent(q.device)
	}
	writeJSON(q.w, http.StatusOK, marshal(q.all(func(id string) bool { return strings.HasPrefix(id, q.device+"/") })))
	return nil
}

func (q *registryRequest) all(want func(id string) bool) []identityBody {
	q.cloud.mu.Lock()
	defer q.cloud.mu.Unlock()
	all := []identityBody{}
	for id, d := range q.cloud.devices {
		if want(id) {
			all = append(all, d.describe())
		}
	}
	slices.SortFunc(all, func(a, b identityBody) int {
		return strings.Compare(a.DeviceID+"/"+a.ModuleID, b.DeviceID+"/"+b.ModuleID)
	})
	return all
}
