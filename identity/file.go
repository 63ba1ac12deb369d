package identity

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
)

// version is the format of the files. A release reads its own and those before it.
const version = 1

// envelope lets damage be told from content: Sum is the SHA-256 of Identity as it stands in the file.
type envelope struct {
	Version  int             `json:"version"`
	Sum      string          `json:"sha256"`
	Identity json.RawMessage `json:"identity"`
}

type content struct {
	Generation uint64 `json:"generation"`
	Key        string `json:"key"`
	DeviceID   string `json:"device_id"`
	Module     string `json:"module,omitempty"`
	Hub        string `json:"hub"`
	Chain      string `json:"chain"` // PEM, leaf first; "" without a key
}

func encode(id *Identity) []byte {
	inner := marshal(content{id.Generation, id.Key, id.DeviceID, id.Module, id.Hub, EncodeChain(id.Chain)})
	return append(marshal(envelope{version, sum(inner), inner}), '\n')
}

func decode(b []byte) (*Identity, error) {
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return nil, err
	}
	if e.Version != version {
		return nil, fmt.Errorf("written in format %d, this release reads %d", e.Version, version)
	}
	if e.Sum != sum(e.Identity) {
		return nil, errors.New("checksum does not match")
	}
	var c content
	if err := json.Unmarshal(e.Identity, &c); err != nil {
		return nil, err
	}
	id := &Identity{Generation: c.Generation, Key: c.Key}
	id.Assignment = Assignment{DeviceID: c.DeviceID, Module: c.Module, Hub: c.Hub}
	if c.Key == "" && c.Chain == "" {
		return id, nil
	}
	var err error
	id.Chain, err = ParseChain([]byte(c.Chain))
	return id, err
}

// EncodeChain is the chain as PEM, in its order.
func EncodeChain(chain []*x509.Certificate) string {
	var out []byte
	for _, c := range chain {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return string(out)
}

// ParseChain returns the certificates in b (PEM) in their order, and an error where there is none.
func ParseChain(b []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(chain)+1, err)
		}
		chain = append(chain, c)
	}
	if len(chain) == 0 {
		return nil, errors.New("no PEM block of type CERTIFICATE")
	}
	return chain, nil
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// marshal cannot fail for the types of this file.
func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("identity: " + err.Error())
	}
	return b
}
