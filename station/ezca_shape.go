package station

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/web"
)

// EZCA answers in several shapes, even to one call: {Success, Message} with status 200 also where it refuses, where
// Message is a text, a certificate or JSON in a string; bare JSON; bare JSON in a string; and plain text that begins
// with "Error" (github.com/markeytos/ezca-go and EZCAClient).

const seeEZCA = "see to what EZCA says: devid-station ezca cas and ezca domains show what is there"

// refused is what EZCA says in words when it does not do as it was asked.
func refused(text string) error {
	return fault.AskOperator(fmt.Errorf("refused: %s", printable(text)), seeEZCA)
}

// unwrap returns the JSON of an answer without what is wrapped around it.
func unwrap(a *web.Answer) (json.RawMessage, error) {
	body := bytes.TrimSpace(bytes.TrimPrefix(a.Body, []byte("\xef\xbb\xbf")))
	if len(body) > 0 && body[0] == '"' {
		var text string
		if err := json.Unmarshal(body, &text); err != nil {
			return nil, fmt.Errorf("the answer: %w", err)
		}
		body = []byte(strings.TrimSpace(text))
	}
	if !json.Valid(body) {
		return nil, notJSON(body)
	}
	var result struct {
		Success *bool
		Message *string
	}
	if json.Unmarshal(body, &result) != nil || result.Success == nil || result.Message == nil {
		return body, nil
	}
	if !*result.Success {
		return nil, refused(*result.Message)
	}
	return json.Marshal(*result.Message)
}

func notJSON(body []byte) error {
	text := string(body)
	if strings.HasPrefix(strings.ToLower(text), "error") {
		return refused(text)
	}
	if strings.Contains(text, "-----BEGIN ") {
		return errors.New("a certificate comes where JSON should")
	}
	return fmt.Errorf("the answer is not JSON: %s", printable(text))
}

// decode reads the answer into v, which is neither a string nor holds one alone: JSON in a string is read, too.
func decode(a *web.Answer, v any) error {
	raw, err := unwrap(a)
	if err != nil {
		return err
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		raw = json.RawMessage(text)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("the answer: %w", err)
	}
	return nil
}

// decodeMessage reads an answer that is a text for a person.
func decodeMessage(a *web.Answer) (string, error) {
	raw, err := unwrap(a)
	if err != nil {
		return "", err
	}
	var text string
	if json.Unmarshal(raw, &text) != nil {
		text = string(raw)
	}
	return text, nil
}

// decodeChain reads the certificates of an answer: an object of three, or one alone. An empty root is none.
func decodeChain(a *web.Answer) ([]byte, error) {
	raw, err := unwrap(a)
	if err != nil {
		return nil, err
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		if strings.Contains(text, "-----BEGIN ") {
			return []byte(text), nil
		}
		raw = json.RawMessage(text)
	}
	var chain struct{ CertificatePEM, IssuingCACertificate, RootCertificate string }
	if err := json.Unmarshal(raw, &chain); err != nil {
		return nil, fmt.Errorf("the answer: %w", err)
	}
	var all bytes.Buffer
	for _, c := range []string{chain.CertificatePEM, chain.IssuingCACertificate, chain.RootCertificate} {
		all.Write(armoured(c))
	}
	if all.Len() == 0 {
		return nil, errors.New("the answer has no certificate")
	}
	return all.Bytes(), nil
}

// armoured is one certificate in PEM, also where it comes in bare base64; nil for what is none.
func armoured(text string) []byte {
	if block, _ := pem.Decode([]byte(text)); block != nil {
		return pem.EncodeToMemory(block)
	}
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil || len(der) == 0 {
		return nil
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
