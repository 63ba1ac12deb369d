package iothub

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/devid-agent/devid-agent/internal/mqtt"
)

// The topics of certificate management. The documentation of Microsoft Learn prints some of them in the singular; the
// service and every SDK of Microsoft's use the plural.
const (
	answerPrefix = "$iothub/credentials/res/"
	answerFilter = "$iothub/credentials/res/#"
	requestTopic = "$iothub/credentials/POST/issueCertificate/?$rid="
)

// answer is one message about one certificate request.
type answer struct {
	status int // HTTP-like
	rid    string
	body   []byte
}

// parseAnswer reads $iothub/credentials/res/{status}/?$rid={rid}, with parameters in any order and of any number.
func parseAnswer(topic string, body []byte) (answer, bool) {
	status, query, ok := mqtt.ParseResponse(topic, answerPrefix)
	if !ok || query.Get("$rid") == "" {
		return answer{}, false
	}
	return answer{status: status, rid: query.Get("$rid"), body: body}, true
}

// ServiceError is what the hub says of a certificate request that it does not fulfil.
type ServiceError struct {
	Status     int
	Code       int // errorCode: the status and three digits
	Message    string
	TrackingID string // what Microsoft's support asks for
	RequestID  string // of the request that is in the way, where there is one
	Credential string // what the certificate authority said, where it did
	RetryAfter time.Duration
}

func (e *ServiceError) Error() string {
	text := fmt.Sprintf("hub answers %d, error %d: %s", e.Status, e.Code, e.Message)
	if e.Credential != "" {
		text += " (" + e.Credential + ")"
	}
	if e.TrackingID != "" {
		text += ", tracking ID " + e.TrackingID
	}
	return text
}

// serviceError reads an error body; of a damaged one the status remains.
func (a answer) serviceError() *ServiceError {
	var body struct {
		ErrorCode  int    `json:"errorCode"`
		Message    string `json:"message"`
		TrackingID string `json:"trackingId"`
		RetryAfter int64  `json:"retryAfter"`
		Info       struct {
			RequestID         string `json:"requestId"`
			CredentialError   string `json:"credentialError"`
			CredentialMessage string `json:"credentialMessage"`
		} `json:"info"`
	}
	if err := json.Unmarshal(a.body, &body); err != nil {
		body.Message = strings.TrimSpace(body.Message + " (the body is not as documented: " + err.Error() + ")")
	}
	if body.ErrorCode == 0 {
		body.ErrorCode = a.status * 1000
	}
	return &ServiceError{
		Status:     a.status,
		Code:       body.ErrorCode,
		Message:    body.Message,
		TrackingID: body.TrackingID,
		RequestID:  body.Info.RequestID,
		Credential: strings.TrimSpace(body.Info.CredentialError + " " + body.Info.CredentialMessage),
		RetryAfter: time.Duration(min(max(body.RetryAfter, 0), 24*60*60)) * time.Second,
	}
}

// chain reads the certificates of a 200: base64 of DER, leaf first. The documentation shows PEM, which is taken too.
func (a answer) chain() ([]*x509.Certificate, error) {
	var body struct {
		Certificates []string `json:"certificates"`
	}
	if err := json.Unmarshal(a.body, &body); err != nil {
		return nil, fmt.Errorf("read issued certificates: %w", err)
	}
	var chain []*x509.Certificate
	for i, text := range body.Certificates {
		certs, err := parseCertificates(text)
		if err != nil {
			return nil, fmt.Errorf("read issued certificate %d: %w", i+1, err)
		}
		chain = append(chain, certs...)
	}
	if len(chain) == 0 {
		return nil, errors.New("read issued certificates: there is none")
	}
	return chain, nil
}

func parseCertificates(text string) ([]*x509.Certificate, error) {
	rest := bytes.TrimSpace([]byte(text))
	if !bytes.HasPrefix(rest, []byte("-----BEGIN")) {
		der, err := base64.StdEncoding.DecodeString(string(rest))
		if err != nil {
			return nil, err
		}
		return x509.ParseCertificates(der)
	}
	var certs []*x509.Certificate
	for len(bytes.TrimSpace(rest)) > 0 {
		block, more := pem.Decode(rest)
		if block == nil || block.Type != "CERTIFICATE" {
			return nil, errors.New("not the PEM of a certificate")
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs, rest = append(certs, cert), more
	}
	return certs, nil
}

// mailbox keeps the answers of a session until somebody asks for them: one to a request of the session before may
// come with the first bytes of this one.
type mailbox struct {
	mu      sync.Mutex
	answers []answer
	news    chan struct{}
}

// mailboxSize is more answers than one request has; older ones give way.
const mailboxSize = 16

func newMailbox() *mailbox { return &mailbox{news: make(chan struct{}, 1)} }

func (m *mailbox) put(a answer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.answers) == mailboxSize {
		m.answers = m.answers[1:]
	}
	m.answers = append(m.answers, a)
	select {
	case m.news <- struct{}{}:
	default:
	}
}

func (m *mailbox) take(rid string) (answer, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, a := range m.answers {
		if a.rid == rid {
			m.answers = append(m.answers[:i:i], m.answers[i+1:]...)
			return a, true
		}
	}
	return answer{}, false
}
