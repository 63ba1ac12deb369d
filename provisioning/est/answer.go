package est

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/devid-agent/devid-agent/fault"
)

const (
	// maxAnswer is far above any chain: sixty certificates with RSA-4096.
	maxAnswer = 128 << 10
	// pendingWait is for a 202 without the Retry-After that it must have.
	pendingWait = time.Minute
	maxQuote    = 300
)

// answer is what the server said.
type answer struct {
	op     string
	status int
	header http.Header
	body   []byte
}

func read(r *http.Response) (*answer, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if len(body) > maxAnswer {
		return nil, fault.As(fault.Permanent, fmt.Errorf("an answer of more than %d bytes", maxAnswer))
	}
	return &answer{status: r.StatusCode, header: r.Header, body: body}, nil
}

// absent reports whether the server does not have the operation.
func (a *answer) absent() bool {
	return a.status == http.StatusNotFound || a.status == http.StatusMethodNotAllowed || a.status == http.StatusNotImplemented
}

// mediaType is the content type without its parameters.
func (a *answer) mediaType() string {
	t, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	if err != nil {
		t, _, _ = strings.Cut(strings.ToLower(a.header.Get("Content-Type")), ";")
	}
	return strings.TrimSpace(t)
}

func (a *answer) isPage() bool {
	t := a.mediaType()
	return t == "text/html" || t == "application/xhtml+xml" || bytes.HasPrefix(bytes.TrimSpace(a.body), []byte("<"))
}

// certificates reads a certs-only answer.
func (a *answer) certificates() ([]*x509.Certificate, error) {
	if err := a.want("application/pkcs7-mime", "application/x-pkcs7-mime", "application/pkcs7"); err != nil {
		return nil, fmt.Errorf("%s: %w", a.op, err)
	}
	der, err := decode(a.body)
	if err != nil {
		return nil, fault.As(fault.Permanent, fmt.Errorf("%s: read the answer: %w", a.op, err))
	}
	certs, err := parseCertsOnly(der)
	if err != nil {
		return nil, fault.As(fault.Permanent, fmt.Errorf("%s: read the answer: %w", a.op, err))
	}
	return certs, nil
}

func (a *answer) wishes() (wishes, error) {
	if err := a.want("application/csrattrs"); err != nil {
		return wishes{}, err
	}
	der, err := decode(a.body)
	if err != nil {
		return wishes{}, err
	}
	return parseWishes(der)
}

// want holds the content type against what the operation answers with.
func (a *answer) want(types ...string) error {
	if a.isPage() {
		return fault.AskOperator(errors.New("a web page comes where a certificate should"),
			"a captive portal or another web server answers in place of the EST server: check the network, and provisioning.est.url")
	}
	if t := a.mediaType(); !slices.Contains(types, t) {
		return fault.As(fault.Permanent, fmt.Errorf("the answer is of type %q, not %s", t, types[0]))
	}
	return nil
}

// after is how long the server asks to wait: seconds or a date. A date is held against the server's own clock, not
// ours, which may be far from it. What makes no sense is fallback; for no longer than years, so that sums hold.
func (a *answer) after(now time.Time, fallback time.Duration) time.Duration {
	text := a.header.Get("Retry-After")
	if n, err := strconv.ParseUint(text, 10, 32); err == nil {
		return max(time.Duration(n)*time.Second, time.Second)
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return fallback
	}
	if date, err := http.ParseTime(a.header.Get("Date")); err == nil {
		now = date
	}
	return max(at.Sub(now), time.Second)
}

// quote is what the server says in words, for a person: one line, not too long, no page.
func (a *answer) quote() string {
	if a.isPage() {
		return "(a web page)"
	}
	if t := a.mediaType(); t != "" && !strings.HasPrefix(t, "text/") && !strings.HasSuffix(t, "json") {
		return ""
	}
	text := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, string(a.body[:min(len(a.body), 4*maxQuote)]))
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > maxQuote {
		return string(runes[:maxQuote]) + "…"
	}
	return text
}

// decode undoes the transfer encoding: base64 with or without line breaks, whatever Content-Transfer-Encoding says
// (RFC 8951, 3). Servers were also seen to send PEM, and plain DER.
func decode(body []byte) ([]byte, error) {
	body = bytes.TrimSpace(body)
	switch {
	case len(body) == 0:
		return nil, errors.New("it is empty")
	case bytes.HasPrefix(body, []byte("-----BEGIN")):
		block, _ := pem.Decode(body)
		if block == nil || block.Type != "PKCS7" && block.Type != "CMS" {
			return nil, errors.New("it is PEM, but not PKCS7")
		}
		return block.Bytes, nil
	case body[0] == 0x30 && len(body) > 1 && body[1] >= 0x80: // base64 of DER begins with M; '0' is base64 too
		return body, nil
	}
	text := bytes.Join(bytes.Fields(body), nil)
	der := make([]byte, base64.RawStdEncoding.DecodedLen(len(text)))
	n, err := base64.RawStdEncoding.Decode(der, bytes.TrimRight(text, "="))
	if err != nil {
		return nil, fmt.Errorf("it is not base64: %w", err)
	}
	return der[:n], nil
}
