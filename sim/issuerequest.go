package sim

import (
	"bytes"
	"encoding/json"
)

// issueRequest is the body of a request for a certificate.
type issueRequest struct {
	ID, CSR, Replace string
	der              []byte
}

func badRequest(text string) *denial { return &denial{code: 400004, text: badIssue + text} }

// parseIssue checks in the order that the messages of the real hub suggest, and answers in its words.
func parseIssue(body []byte, device string) (*issueRequest, *denial) {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, badRequest("payload is missing. Include a JSON payload with 'id' and 'csr' fields.")
	}
	if !json.Valid(body) {
		return nil, &denial{code: 400006, text: "cannot decode json format"}
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil || members == nil { // an array was seen to end here
		return nil, badRequest("'id' field does not match the authenticated device ID. Use the same device ID used for authentication.")
	}
	for name := range members {
		if name != "id" && name != "csr" && name != "replace" {
			return nil, badRequest("payload contains an unknown field. Only 'id', 'csr', and 'replace' fields are allowed.")
		}
	}
	r := &issueRequest{ID: text(members["id"]), CSR: text(members["csr"]), Replace: text(members["replace"])}
	if no := r.checkID(device); no != nil {
		return nil, no
	}
	if no := r.checkCSR(); no != nil {
		return nil, no
	}
	if _, given := members["replace"]; given && r.Replace != "*" && !validID(r.Replace) {
		return nil, badRequest("'replace' field has an invalid format. An exact request ID must be between 4 and 36 characters, only have alphanumeric characters and hyphens, and cannot start or end with a hyphen. Use '*' to replace any pending request.")
	}
	return r, nil
}

// text is a JSON string, or "" where there is none.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

func (r *issueRequest) checkID(device string) *denial {
	switch r.ID {
	case device:
		return nil
	case "":
		return badRequest("'id' field is invalid or missing. Provide the device ID of the authenticated device.")
	}
	return badRequest("'id' field does not match the authenticated device ID. Use the same device ID used for authentication.")
}

func (r *issueRequest) checkCSR() *denial {
	if r.CSR == "" {
		return badRequest("'csr' field is invalid or missing. Provide a valid base64-encoded certificate signing request.")
	}
	if len(r.CSR) > maxCSR {
		return badRequest("'csr' field exceeds maximum allowed length. Reduce the CSR size.")
	}
	var err error
	if r.der, err = decodeCSR(r.CSR); err != nil {
		return badRequest("'csr' field is not valid base64. Ensure the CSR is properly base64-encoded.")
	}
	return nil
}
