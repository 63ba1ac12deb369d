package est

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
)

// Bounds of what is read: no CA has a hundred certificates, and nothing here is nested deeper.
const (
	maxCertificates = 100
	maxDepth        = 12
)

// Tags of the structure (X.690, RFC 5652).
const (
	tagInteger  = 0x02
	tagOID      = 0x06
	tagSequence = 0x30
	tagSet      = 0x31
	tagZero     = 0xa0 // [0], constructed
)

var (
	oidSignedData = []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02} // 1.2.840.113549.1.7.2

	errShort = errors.New("it ends in the middle of an element")
	errDeep  = errors.New("it is nested too deep")
)

// parseCertsOnly returns the certificates of a CMS "certs-only" message in their order: a SignedData that holds
// certificates and whose signers, if there are any, say nothing about them (RFC 5652, 5; RFC 5751, 3.8).
//
//	ContentInfo ::= SEQUENCE { OID signedData, [0] SEQUENCE { version, SET, SEQUENCE, [0] certificates, … } }
//
// The envelope may be BER with indefinite lengths, as Java's libraries write it; each certificate is DER.
func parseCertsOnly(message []byte) ([]*x509.Certificate, error) {
	info, rest, err := next(message, tagSequence)
	if err != nil {
		return nil, fmt.Errorf("content info: %w", err)
	}
	if err := trailing(rest); err != nil {
		return nil, err
	}
	kind, rest, err := next(info, tagOID)
	if err != nil || !bytes.Equal(kind, oidSignedData) {
		return nil, errors.Join(errors.New("it is not PKCS #7 signed data"), err)
	}
	data, err := descend(rest, tagZero, tagSequence)
	if err != nil {
		return nil, fmt.Errorf("signed data: %w", err)
	}
	for _, tag := range []byte{tagInteger, tagSet, tagSequence} { // version, digest algorithms, content
		if _, data, err = next(data, tag); err != nil {
			return nil, fmt.Errorf("signed data: %w", err)
		}
	}
	if len(data) == 0 || data[0] != tagZero {
		return nil, errors.New("it holds no certificates")
	}
	set, _, err := next(data, tagZero)
	if err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	return parseSet(set)
}

// parseSet passes over what is not an X.509 certificate: attribute certificates and the like are tagged.
func parseSet(set []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for len(set) > 0 {
		e, err := element(set, maxDepth)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(certs)+1, err)
		}
		set = set[e.size:]
		if e.tag != tagSequence {
			continue
		}
		if len(certs) == maxCertificates {
			return nil, fmt.Errorf("it holds more than %d certificates", maxCertificates)
		}
		cert, err := x509.ParseCertificate(e.whole)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(certs)+1, err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, errors.New("it holds no certificates")
	}
	return certs, nil
}

// descend returns the content of the innermost of elements that are each the first in the one before.
func descend(b []byte, tags ...byte) ([]byte, error) {
	var err error
	for _, tag := range tags {
		if b, _, err = next(b, tag); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// next returns the content of the first element of b, which must have that tag, and what follows it.
func next(b []byte, tag byte) (content, rest []byte, err error) {
	e, err := element(b, maxDepth)
	if err != nil {
		return nil, nil, err
	}
	if e.tag != tag {
		return nil, nil, fmt.Errorf("tag %#x where %#x should be", e.tag, tag)
	}
	return e.content, b[e.size:], nil
}
