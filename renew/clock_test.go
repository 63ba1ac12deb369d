package renew

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"math/big"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
	"github.com/devid-agent/devid-agent/provisioning"
)

// wall is a machine's clock as package time reads it: the time of day, which somebody may set, and a monotonic reading, which
// nobody can, and which stands still while the machine sleeps. A bubble's own time has no such reading.
type wall struct {
	start time.Time
	step  atomic.Int64 // ns
}

func (w *wall) now() time.Time {
	return monotonic(time.Now().Add(time.Duration(w.step.Load())), time.Since(w.start))
}

// monotonic is t with that reading. Package time makes no such Time for others: the layout is that of its type Time.
func monotonic(t time.Time, since time.Duration) time.Time {
	const has = 1 << 63
	seconds := uint64(t.Unix() - time.Date(1885, 1, 1, 0, 0, 0, 0, time.UTC).Unix())
	made := t
	raw := (*struct {
		wall uint64
		ext  int64
	})(unsafe.Pointer(&made))
	raw.wall, raw.ext = has|seconds<<30|uint64(t.Nanosecond()), int64(since)
	return made
}

// bench is a renewer whose clock the test sets, and an authority that says no to whoever comes with a wrong one, as TLS does.
type bench struct {
	*Renewer
	wall
	key   *ecdsa.PrivateKey
	root  *x509.Certificate
	tries atomic.Int64
	life  time.Duration
}

func inBench(t *testing.T, life time.Duration, story func(b *bench)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{life: life, wall: wall{start: time.Now()}}
		var err error
		if b.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
		b.root = b.sign(t, &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true,
			KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(100 * life),
		}, &b.key.PublicKey)
		store, err := identity.Open(t.Context(), dir, keystest.NewStore(keys.ECDSAP256), nil)
		if err != nil {
			t.Fatal(err)
		}
		b.Renewer = New(Config{
			Identities: store, DeviceID: "d1", First: b.enroller(t), Accepted: func() bool { return true },
			Prove: func(context.Context, *identity.Identity) error { return nil }, Log: slog.New(slog.DiscardHandler),
		})
		b.Renewer.now = b.wall.now
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- b.Run(ctx) }()
		story(b)
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v", err)
		}
	})
}

type enrollerFunc func(ctx context.Context, r provisioning.Request) (identity.Grant, error)

func (f enrollerFunc) Enroll(ctx context.Context, r provisioning.Request) (identity.Grant, error) {
	return f(ctx, r)
}

func (b *bench) enroller(t *testing.T) provisioning.Enroller {
	return enrollerFunc(func(_ context.Context, r provisioning.Request) (identity.Grant, error) {
		if b.tries.Add(1); b.step.Load() < 0 || b.step.Load() > int64(100*day) {
			return identity.Grant{}, fault.AskOperator(errors.New("the server's certificate is of another time"), "set the clock")
		}
		leaf := b.sign(t, &x509.Certificate{
			SerialNumber: big.NewInt(int64(b.asked()) + 1), Subject: pkix.Name{CommonName: r.DeviceID}, KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, NotBefore: time.Now(), NotAfter: b.wall.now().Add(b.life),
		}, r.Key.Public())
		return identity.Grant{Assignment: identity.Assignment{DeviceID: "d1", Hub: "hub.example"}, Chain: []*x509.Certificate{leaf, b.root}}, nil
	})
}

func (b *bench) sign(t *testing.T, template *x509.Certificate, public any) *x509.Certificate {
	parent := b.root
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, b.key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (b *bench) asked() int { return int(b.tries.Load()) }

// pass lets time go by on both clocks.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

const (
	day   = 24 * time.Hour
	years = 365 * day
)

func TestFault54AfterALongSleepARenewalThatIsDueComesWithinTheHour(t *testing.T) {
	inBench(t, 90*day, func(b *bench) {
		pass(10 * day)
		if b.asked() != 1 || b.Identities.Current() == nil {
			t.Fatalf("asked %d times in ten days", b.asked())
		}
		b.step.Store(int64(60 * day)) // asleep
		pass(time.Hour)
		if got := b.Identities.Current().Generation; b.asked() != 2 || got != 2 {
			t.Errorf("an hour after a sleep over the day of renewal it was asked %d times, and generation %d is in force", b.asked(), got)
		}
		pass(day)
		if b.asked() != 2 {
			t.Errorf("asked %d times in all", b.asked())
		}
	})
}

func TestFault54AClockThatIsSetAfterTheBootRenewsNothingBeforeItsTime(t *testing.T) {
	for name, wrong := range map[string]time.Duration{"boot in the past": -29 * years, "boot in the future": 10 * years, "a day back": -day} {
		inBench(t, 90*day, func(b *bench) {
			pass(day)
			b.step.Store(int64(wrong))
			pass(6 * time.Hour)
			if wrong > 0 && b.asked() < 2 {
				t.Errorf("%s: a certificate that seems expired is not replaced", name)
			}
			tried := b.asked()
			b.step.Store(int64(0))
			pass(50 * day)
			if b.asked() != tried || b.Identities.Current().Generation != 1 {
				t.Errorf("%s: set right, the clock led to %d more tries and generation %d", name, b.asked()-tried, b.Identities.Current().Generation)
			}
			pass(25 * day)
			if got := b.Identities.Current().Generation; got != 2 {
				t.Errorf("%s: generation %d is in force when the certificate's time has come", name, got)
			}
		})
	}
}

func TestFault54AFirstEnrollmentThatAWrongClockForbadeComesWithinTheHourOfItsBeingSet(t *testing.T) {
	for name, wrong := range map[string]time.Duration{"1970": -29 * years, "ten years on": 10 * years} {
		inBench(t, 90*day, func(b *bench) {
			b.step.Store(int64(wrong))
			pass(5*time.Hour + time.Minute)
			if b.Identities.Current() != nil || b.asked() < 2 || b.asked() > 10 {
				t.Fatalf("%s: asked %d times", name, b.asked())
			}
			b.step.Store(int64(0))
			pass(70 * time.Minute)
			if b.Identities.Current() == nil {
				t.Errorf("%s: nobody 70 minutes after the clock was set", name)
			}
		})
	}
}
