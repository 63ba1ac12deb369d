package sim

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// serviceVersions are the API versions that the DPS knows for programs.
var serviceVersions = []version{"2018-04-01", "2018-09-01-preview", "2018-11-01", "2019-01-15", "2019-03-31", "2021-06-01", "2021-10-01",
	"2025-07-01-preview", "2026-11-01", "2026-11-02-preview"}

// enrollmentRequest is one request of a program to the service API of the DPS.
type enrollmentRequest struct {
	cloud   *Cloud
	w       http.ResponseWriter
	r       *http.Request
	version version
	parts   []string
}

// serveEnrollments serves "Individual Enrollment", "Enrollment Group" and "Device Registration State".
func (c *Cloud) serveEnrollments(w http.ResponseWriter, r *http.Request, parts []string) {
	q := &enrollmentRequest{cloud: c, w: w, r: r, parts: parts}
	no := q.admit()
	if no == nil {
		no = c.serviceTrouble(r, AtEnrollment, q.id())
	}
	var body []byte
	if no == nil {
		var err error
		if body, err = readBody(r, maxBody); err != nil {
			no = &Refusal{Code: 400004, Message: err.Error()}
		}
	}
	if no == nil {
		c.mu.Lock()
		no = q.serve(body)
		c.mu.Unlock()
	}
	if no != nil {
		c.refuseAt(AtEnrollment, q.id())
		c.log("dps", Answered, q.id(), no.Error())
		w.Header().Set("x-ms-error-code", strconv.Itoa(no.Code))
		retryAfter(w, no.RetryAfter)
		writeJSON(w, httpStatus(no.Code), no.result().body)
	}
}

func (q *enrollmentRequest) id() string {
	if len(q.parts) > 1 {
		return q.parts[1]
	}
	return ""
}

// admit says why the request is not served, or nil. A query is a POST that only reads.
func (q *enrollmentRequest) admit() *Refusal {
	right := map[bool]string{true: readEnrollment, false: writeEnrollment}
	if q.parts[0] == "registrations" {
		right = map[bool]string{true: readState, false: writeState}
	}
	reads := q.r.Method == http.MethodGet || q.r.Method == http.MethodPost
	if err := q.cloud.permit(q.r, q.cloud.dpsPolicies, right[reads], DPSServiceHost, "https://azure-devices-provisioning.net"); err != nil {
		return &Refusal{Code: 401000, Message: "Unauthorized: " + err.Error() + "."}
	}
	v, err := parseVersion(q.r.URL.Query().Get("api-version"))
	if err != nil || !q.cloud.knows(serviceVersions, v) {
		return &Refusal{Code: 400003, Message: "api-version is missing or unknown."}
	}
	q.version = v
	return nil
}

// serve needs c.mu to be held.
func (q *enrollmentRequest) serve(body []byte) *Refusal {
	id, last := q.id(), q.parts[len(q.parts)-1]
	group := q.parts[0] == "enrollmentGroups"
	collection := group || q.parts[0] == "enrollments"
	switch {
	case collection && len(q.parts) == 2 && id == "query" && q.r.Method == http.MethodPost:
		return q.query(group, body)
	case collection && len(q.parts) == 2:
		return q.one(group, id, body)
	case collection && len(q.parts) == 3 && last == "attestationmechanism" && q.r.Method == http.MethodPost:
		e := q.find(group, id)
		if e == nil {
			return notEnrolled()
		}
		writeJSON(q.w, http.StatusOK, marshal(e.mechanism(true)))
		return nil
	case q.parts[0] == "registrations" && len(q.parts) == 2:
		return q.registration(id)
	case q.parts[0] == "registrations" && len(q.parts) == 3 && last == "query" && q.r.Method == http.MethodPost:
		return q.registrations(id)
	}
	return &Refusal{Code: 404000, Message: "Resource not found."}
}

func notEnrolled() *Refusal { return &Refusal{Code: 404201, Message: "Enrollment not found."} }

func (q *enrollmentRequest) find(group bool, id string) *Enrollment {
	for _, e := range q.cloud.enrollments {
		if e.group() == group && strings.EqualFold(id, e.name()) {
			return e
		}
	}
	return nil
}

// matches holds If-Match against an etag, which is quoted itself.
func (q *enrollmentRequest) matches(etag string) bool {
	given := strings.Trim(q.r.Header.Get("If-Match"), `"`)
	return given == "" || given == "*" || given == strings.Trim(etag, `"`)
}

func (q *enrollmentRequest) one(group bool, id string, body []byte) *Refusal {
	e := q.find(group, id)
	switch q.r.Method {
	case http.MethodPut:
		return q.put(e, group, id, body)
	case http.MethodGet, http.MethodDelete:
		if e == nil {
			return notEnrolled()
		}
	default:
		return &Refusal{Code: 405000, Message: "Method not allowed."}
	}
	if q.r.Method == http.MethodGet {
		q.show(e, false)
		return nil
	}
	if !q.matches(e.entry.etag) {
		return &Refusal{Code: 412000, Message: "The etag is another one."}
	}
	q.cloud.enrollments = slices.DeleteFunc(q.cloud.enrollments, func(o *Enrollment) bool { return o == e })
	q.w.WriteHeader(http.StatusNoContent)
	return nil
}

// put creates an enrollment, or with If-Match changes it.
func (q *enrollmentRequest) put(old *Enrollment, group bool, id string, body []byte) *Refusal {
	e, err := q.cloud.parseEnrollment(q.version, group, id, body)
	if err != nil {
		return &Refusal{Code: 400004, Message: err.Error()}
	}
	update := q.r.Header.Get("If-Match") != ""
	switch {
	case old == nil && update:
		return notEnrolled()
	case old != nil && !update:
		return &Refusal{Code: 409201, Message: "Enrollment already exists."}
	case old != nil && !q.matches(old.entry.etag):
		return &Refusal{Code: 412000, Message: "The etag is another one."}
	case old != nil:
		e.entry.created = old.entry.created
	}
	q.cloud.enroll(e)
	q.show(e, true)
	return nil
}

func (q *enrollmentRequest) show(e *Enrollment, secrets bool) {
	q.w.Header().Set("ETag", e.entry.etag)
	writeJSON(q.w, http.StatusOK, marshal(q.cloud.describe(e, secrets)))
}

var selectAll = regexp.MustCompile(`(?i)^\s*SELECT\s+\*\s+FROM\s+(enrollments|enrollmentGroups)\s*$`)

// query knows the one query that asks for all.
func (q *enrollmentRequest) query(group bool, body []byte) *Refusal {
	var in struct {
		Query string `json:"query"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return &Refusal{Code: 400004, Message: "The body is not JSON: " + err.Error()}
	}
	from := selectAll.FindStringSubmatch(in.Query)
	if from == nil || strings.EqualFold(from[1], "enrollmentGroups") != group {
		return &Refusal{Code: 400004, Message: "The simulated query language has SELECT * FROM enrollments and SELECT * FROM enrollmentGroups."}
	}
	var all []any
	for _, e := range q.cloud.enrollments {
		if e.group() == group {
			all = append(all, q.cloud.describe(e, false))
		}
	}
	kind := "Enrollment"
	if group {
		kind = "EnrollmentGroup"
	}
	return q.page(kind, all)
}

// page answers with as many as were asked for, and says how to ask for more.
func (q *enrollmentRequest) page(kind string, all []any) *Refusal {
	from, size := 0, len(all)
	if text := q.r.Header.Get("x-ms-continuation"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > len(all) {
			return &Refusal{Code: 400004, Message: "x-ms-continuation is not ours."}
		}
		from = n
	}
	if text := q.r.Header.Get("x-ms-max-item-count"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return &Refusal{Code: 400004, Message: "x-ms-max-item-count is not a number."}
		}
		size = n
	}
	to := min(from+size, len(all))
	if to < len(all) {
		q.w.Header().Set("x-ms-continuation", strconv.Itoa(to))
	}
	q.w.Header().Set("x-ms-max-item-count", strconv.Itoa(size))
	q.w.Header().Set("x-ms-item-type", kind)
	writeJSON(q.w, http.StatusOK, marshal(append([]any{}, all[from:to]...)))
	return nil
}

func (q *enrollmentRequest) registration(id string) *Refusal {
	state := q.cloud.states[strings.ToLower(id)]
	switch {
	case state == nil:
		return &Refusal{Code: 404203, Message: "Registration not found."}
	case q.r.Method == http.MethodGet:
		writeJSON(q.w, http.StatusOK, marshal(state.bare()))
		return nil
	case q.r.Method != http.MethodDelete:
		return &Refusal{Code: 405000, Message: "Method not allowed."}
	case !q.matches(state.Etag):
		return &Refusal{Code: 412000, Message: "The etag is another one."}
	}
	delete(q.cloud.states, strings.ToLower(id))
	q.w.WriteHeader(http.StatusNoContent)
	return nil
}

// registrations are those of the devices in a group.
func (q *enrollmentRequest) registrations(group string) *Refusal {
	if q.find(true, group) == nil {
		return notEnrolled()
	}
	var all []any
	for _, state := range q.cloud.states {
		if strings.EqualFold(state.group(), group) {
			all = append(all, state.bare())
		}
	}
	slices.SortFunc(all, func(a, b any) int {
		return strings.Compare(a.(*stateBody).RegistrationID, b.(*stateBody).RegistrationID)
	})
	return q.page("DeviceRegistrationState", all)
}

// group is the name of the enrollment group by which the device came; "" is none.
func (s *stateBody) group() string {
	for _, by := range []*x509Body{s.X509, s.SymmetricKey} {
		if by != nil {
			return by.EnrollmentGroupID
		}
	}
	return ""
}

// bare is the state as programs see it: without what is between the DPS and the device.
func (s *stateBody) bare() *stateBody {
	b := *s
	b.X509, b.SymmetricKey, b.TPM, b.TrustBundle, b.ConnectionProfile = nil, nil, nil, nil, ""
	return &b
}
