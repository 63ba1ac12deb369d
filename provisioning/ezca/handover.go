package ezca

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

// harvest is the certificate that came of a token. Whoever asked may come again for it, since a certificate is half of an
// enrollment: with the hub not yet assigned, a token that is used up would leave the device with nothing.
type harvest struct {
	token  string
	public []byte // SubjectPublicKeyInfo
	chain  []*x509.Certificate
}

// again is what came of token, or of the last one where there is none any more, for the same key and name; or nil.
func (c *Client) again(token string, t task) []*x509.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.last
	if h == nil || token != "" && token != h.token || h.chain[0].Subject.CommonName != t.name || time.Now().After(h.chain[0].NotAfter) {
		return nil
	}
	if public, err := x509.MarshalPKIXPublicKey(t.request.Key.Public()); err != nil || !bytes.Equal(public, h.public) {
		return nil
	}
	return h.chain
}

// used keeps what came of the token, and removes the token, which has done what it was for. One that stays is no reason
// to do without the certificate.
func (c *Client) used(token string, chain []*x509.Certificate) {
	c.mu.Lock()
	c.last = &harvest{token, chain[0].RawSubjectPublicKeyInfo, chain}
	c.mu.Unlock()
	if err := os.Remove(c.config.TokenFile); err != nil {
		c.config.Log.Warn("the token that was used cannot be removed", "err", err, "hint", "remove it by hand")
	}
}

// maxToken is far above Entra's, which are of 2 to 4 KiB.
const maxToken = 64 << 10

// handedOver is the bearer token that somebody left for us.
func (c Config) handedOver() (string, error) {
	const hint = "hand over a fresh token of somebody who may request certificates from this CA, in the file that provisioning.ezca.token_file " +
		"names (mode 0600): az account get-access-token --resource https://management.core.windows.net --query accessToken -o tsv"
	if c.TokenFile == "" {
		return "", fault.AskOperator(errors.New("there is no token for the first certificate"), hint)
	}
	b, err := readToken(c.TokenFile)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fault.AskOperator(fmt.Errorf("there is no token for the first certificate: %w", err), hint)
	}
	if err != nil {
		return "", fault.AskOperator(fmt.Errorf("read the token: %w", err), "let the agent read "+c.TokenFile)
	}
	token := strings.TrimSpace(string(b))
	if token == "" || len(token) >= maxToken || strings.ContainsFunc(token, notInToken) {
		return "", fault.AskOperator(fmt.Errorf("%s does not hold one bearer token", c.TokenFile), hint)
	}
	return token, nil
}

func readToken(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxToken))
}

// notInToken is what RFC 6750, 2.1 does not have in a bearer token.
func notInToken(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._~+/=", r)
}
