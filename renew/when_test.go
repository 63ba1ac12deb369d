package renew

import (
	"crypto/x509"
	"fmt"
	"testing"
	"time"
)

func leaf(life time.Duration, raw string) *x509.Certificate {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return &x509.Certificate{Raw: []byte(raw), NotBefore: start, NotAfter: start.Add(life)}
}

func TestWhenIsInTheSecondThird(t *testing.T) {
	for _, life := range []time.Duration{time.Minute, 24 * time.Hour, 90 * 24 * time.Hour} {
		for i := range 500 {
			c := leaf(life, fmt.Sprint(i))
			age := When(c, "d1").Sub(c.NotBefore)
			if age < life*2/3 || age > life*2/3+life/10 {
				t.Fatalf("life %v: renewed at %v", life, age)
			}
		}
	}
}

func TestWhenIsDrawnOncePerCertificateAndDevice(t *testing.T) {
	c := leaf(time.Hour, "a")
	if !When(c, "d1").Equal(When(c, "d1")) {
		t.Error("a restart draws again")
	}
	if When(c, "d1").Equal(When(c, "d2")) || When(c, "d1").Equal(When(leaf(time.Hour, "b"), "d1")) {
		t.Error("another device, or another certificate, draws the same")
	}
}

func TestAFleetIsSpreadOverTheTenth(t *testing.T) {
	const devices, buckets = 10000, 10
	var count [buckets]int
	c := leaf(10*time.Hour, "a")
	for i := range devices {
		late := When(c, fmt.Sprintf("d%d", i)).Sub(c.NotBefore.Add(20 * time.Hour / 3))
		count[min(int(late*buckets/time.Hour), buckets-1)]++
	}
	for i, n := range count {
		if n < devices/buckets*8/10 || n > devices/buckets*12/10 {
			t.Errorf("bucket %d of the window has %d of %d devices", i, n, devices)
		}
	}
}
