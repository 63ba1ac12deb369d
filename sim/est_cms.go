package sim

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
)

// element is one element of DER.
func element(tag byte, parts ...[]byte) []byte {
	content := bytes.Join(parts, nil)
	n := len(content)
	switch {
	case n < 0x80:
		return append([]byte{tag, byte(n)}, content...)
	case n < 0x100:
		return append([]byte{tag, 0x81, byte(n)}, content...)
	case n < 0x10000:
		return append([]byte{tag, 0x82, byte(n >> 8), byte(n)}, content...)
	}
	return append([]byte{tag, 0x83, byte(n >> 16), byte(n >> 8), byte(n)}, content...)
}

// endless is one of BER, of indefinite length.
func endless(tag byte, parts ...[]byte) []byte {
	return append(append([]byte{tag, 0x80}, bytes.Join(parts, nil)...), 0, 0)
}

// certsOnly is a CMS message that holds certificates and nothing else (RFC 5751, 3.8).
func certsOnly(make func(tag byte, parts ...[]byte) []byte, certs ...*x509.Certificate) []byte {
	signedData := []byte{0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02}
	data := []byte{0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01}
	parts := [][]byte{{0x02, 0x01, 0x01}, {0x31, 0x00}, make(0x30, data)}
	if len(certs) > 0 {
		var all [][]byte
		for _, x := range certs {
			all = append(all, x.Raw)
		}
		parts = append(parts, make(0xa0, all...))
	}
	parts = append(parts, []byte{0x31, 0x00}) // no signers
	return make(0x30, signedData, make(0xa0, make(0x30, parts...)))
}

// write is how the answer travels.
func (e ESTEncoding) write(certs ...*x509.Certificate) []byte {
	switch e {
	case ESTPEM:
		return pem.EncodeToMemory(&pem.Block{Type: "PKCS7", Bytes: certsOnly(element, certs...)})
	case ESTDER:
		return certsOnly(element, certs...)
	case ESTIndefinite:
		return []byte(base64.StdEncoding.EncodeToString(certsOnly(endless, certs...)))
	case ESTLines:
		return lines(base64.StdEncoding.EncodeToString(certsOnly(element, certs...)))
	}
	return []byte(base64.StdEncoding.EncodeToString(certsOnly(element, certs...)))
}

func lines(s string) []byte {
	var b bytes.Buffer
	for len(s) > 76 {
		b.WriteString(s[:76] + "\r\n")
		s = s[76:]
	}
	b.WriteString(s + "\r\n")
	return b.Bytes()
}
