package renew

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"math"
	"time"
)

// When is the time to renew leaf: two thirds of its life, plus a tenth drawn once per certificate from seed (the
// device ID), so that a fleet enrolled in one night is not renewed in one night. It is a pure function: a restart
// does not draw again.
func When(leaf *x509.Certificate, seed string) time.Time {
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	print := sha256.Sum256(leaf.Raw)
	draw := sha256.Sum256(append([]byte(seed), print[:]...))
	u := float64(binary.BigEndian.Uint64(draw[:8])) / math.MaxUint64
	return leaf.NotBefore.Add(life*2/3 + time.Duration(u*float64(life)/10))
}

// urgent reports whether so little of leaf's life is left that every way to a certificate may be tried.
func urgent(leaf *x509.Certificate, now time.Time) bool {
	return leaf.NotAfter.Sub(now) < leaf.NotAfter.Sub(leaf.NotBefore)/10
}
