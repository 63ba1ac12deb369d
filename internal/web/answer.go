package web

import (
	"bytes"
	"errors"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/devid-agent/devid-agent/fault"
)

const maxQuote = 300

// Answer is what the server said, read to its end.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte

	setting string // where a person has set the server's address
}

// MediaType is the content type without its parameters, in lower case; "" where there is none.
func (a *Answer) MediaType() string {
	t, _, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if err != nil {
		t, _, _ = strings.Cut(strings.ToLower(a.Header.Get("Content-Type")), ";")
	}
	return strings.TrimSpace(t)
}

// Page reports whether the answer is for a person's browser.
func (a *Answer) Page() bool {
	t := a.MediaType()
	return t == "text/html" || t == "application/xhtml+xml" || bytes.HasPrefix(bytes.TrimSpace(a.Body), []byte("<"))
}

// Portal is what a Page in place of the service's answer means, with who can help; nil where the answer is no Page.
func (a *Answer) Portal() error {
	if !a.Page() {
		return nil
	}
	return fault.AskOperator(errors.New("a web page comes where the answer of the service should"),
		"a captive portal or another web server answers in place of the service: check the network, and "+a.setting)
}

// After is how long the server asks to wait, at least a second: Retry-After in seconds or as a date. A date is held
// against the server's own clock, not ours, which may be far from it. What makes no sense is fallback; what is too long
// for sums of times to hold is, too.
func (a *Answer) After(now time.Time, fallback time.Duration) time.Duration {
	text := a.Header.Get("Retry-After")
	if n, err := strconv.ParseUint(text, 10, 32); err == nil {
		return max(time.Duration(n)*time.Second, time.Second)
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return fallback
	}
	if date, err := http.ParseTime(a.Header.Get("Date")); err == nil {
		now = date
	}
	return max(at.Sub(now), time.Second)
}

// Quote is what the server says in words, for a person: one line of at most 300 characters, no page, "" for what is no
// text.
func (a *Answer) Quote() string {
	if a.Page() {
		return "(a web page)"
	}
	if t := a.MediaType(); t != "" && !strings.HasPrefix(t, "text/") && !strings.HasSuffix(t, "json") {
		return ""
	}
	text := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, string(a.Body[:min(len(a.Body), 4*maxQuote)]))
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > maxQuote {
		return string(runes[:maxQuote]) + "…"
	}
	return text
}

// maxPatience is the most that a server may make us wait, as in Cisco's libest.
const maxPatience = 48 * time.Hour

// Patience keeps a wait that a server asks for within two days, and within a quarter of the time until end, when the
// certificate in force ends: a server that names two days to a device with one day left would disconnect it for good. A
// zero end is none.
func Patience(wait time.Duration, now, end time.Time) time.Duration {
	limit := maxPatience
	if now.Before(end) {
		limit = min(limit, max(end.Sub(now)/4, time.Minute))
	}
	return min(max(wait, 0), limit)
}
