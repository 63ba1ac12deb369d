package sim

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // only our own structures come here
	}
	return b
}

// stamp7 and stamp9 are UTC with the number of fractional digits that the DPS and the hub write.
func stamp7(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.0000000Z") }
func stamp9(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000000Z") }

func newGUID() string {
	h := randomHex(16)
	return fmt.Sprintf("%s-%s-%s-%s-%s", h[:8], h[8:12], h[12:16], h[16:20], h[20:])
}

// newOperationID looks like 4.d0a671905ea5b2c8.42d78160-4c78-479e-8be7-61d5e55dac0d.
func newOperationID() string { return "4." + randomHex(8) + "." + newGUID() }

// newTrackingID looks like 4A745D4B29A44D82BD5FE49D7F974C72-G2:-TimeStamp:2026-01-31T00:49:39.467401528Z.
func newTrackingID() string {
	return strings.ToUpper(randomHex(16)) + "-G2:-TimeStamp:" + stamp9(time.Now())
}

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// encodeChain is a chain as both services write it: base64 of DER, leaf first.
func encodeChain(chain []*x509.Certificate) []string {
	var all []string
	for _, c := range chain {
		all = append(all, base64.StdEncoding.EncodeToString(c.Raw))
	}
	return all
}
