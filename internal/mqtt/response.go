package mqtt

import (
	"net/url"
	"strconv"
	"strings"
)

// ParseResponse reads a topic of the form {prefix}{status}/?{query}, in which Azure's services answer a request: the
// status is HTTP-like, the parameters of the query come in any order, and of any number.
func ParseResponse(topic, prefix string) (status int, query url.Values, ok bool) {
	rest, ok := strings.CutPrefix(topic, prefix)
	if !ok {
		return 0, nil, false
	}
	code, text, _ := strings.Cut(rest, "/")
	status, err := strconv.Atoi(code)
	if err != nil || status < 100 || status > 599 {
		return 0, nil, false
	}
	query, err = url.ParseQuery(strings.TrimPrefix(text, "?"))
	return status, query, err == nil
}
