package identity_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
)

// authority is a root that certifies keys.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	next int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, next: 2}
	a.cert = a.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}, nil, key.Public())
	return a
}

func (a *authority) sign(t *testing.T, template, parent *x509.Certificate, pub crypto.PublicKey) *x509.Certificate {
	t.Helper()
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, a.key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// grant certifies pub for device d1, after change had its way with the template.
func (a *authority) grant(t *testing.T, pub crypto.PublicKey, change func(*x509.Certificate)) identity.Grant {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.next), Subject: pkix.Name{CommonName: "d1"}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		NotBefore:   time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
	}
	a.next++
	if change != nil {
		change(template)
	}
	return identity.Grant{
		Assignment: identity.Assignment{DeviceID: "d1", Hub: "hub.example"},
		Chain:      []*x509.Certificate{a.sign(t, template, a.cert, pub), a.cert},
	}
}

func open(t *testing.T, dir string, ks keys.Store) *identity.Store {
	t.Helper()
	s, err := identity.Open(t.Context(), dir, ks, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// advance stages and promotes one generation.
func advance(t *testing.T, s *identity.Store, a *authority) *identity.Identity {
	t.Helper()
	name, key, err := s.NextKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	id, err := s.Stage(t.Context(), name, a.grant(t, key.Public(), nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Promote(), s.Sweep(t.Context())); err != nil {
		t.Fatal(err)
	}
	return id
}

func TestIdentitySurvivesAReboot(t *testing.T) {
	dir, ks, a := t.TempDir(), keystest.NewStore(keys.ECDSAP256), newAuthority(t)
	first := open(t, dir, ks)
	if first.Current() != nil {
		t.Fatal("a new device is somebody already")
	}
	want := advance(t, first, a)
	got := open(t, dir, ks).Current()
	if got == nil || got.Generation != 1 || got.Key != "device-g1" || got.Assignment != want.Assignment || !got.Leaf().Equal(want.Leaf()) || len(got.Chain) != 2 {
		t.Fatalf("after the reboot: %+v", got)
	}
	if _, err := got.Certificate().PrivateKey.(crypto.Signer).Sign(rand.Reader, make([]byte, 32), crypto.SHA256); err != nil {
		t.Errorf("its key does not sign: %v", err)
	}
}

func TestPendingSurvivesARebootAndOutlivesNothing(t *testing.T) {
	dir, ks, a := t.TempDir(), keystest.NewStore(keys.ECDSAP256), newAuthority(t)
	s := open(t, dir, ks)
	advance(t, s, a)
	name, key, _ := s.NextKey(t.Context())
	if _, err := s.Stage(t.Context(), name, a.grant(t, key.Public(), nil)); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, ks)
	if s.Current().Generation != 1 || s.Pending() == nil || s.Pending().Generation != 2 {
		t.Fatalf("current %v, pending %v", s.Current(), s.Pending())
	}
	if err := s.Promote(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, ks) // which sweeps
	if s.Current().Generation != 2 || s.Pending() != nil {
		t.Fatalf("current %v, pending %v", s.Current(), s.Pending())
	}
	if names, _ := ks.Names(t.Context()); !slices.Equal(names, []string{"device-g2"}) {
		t.Errorf("keys after the promotion: %v", names)
	}
}

func TestARefusedGenerationsNumberIsNotGivenAgain(t *testing.T) {
	dir, ks, a := t.TempDir(), keystest.NewStore(keys.ECDSAP256), newAuthority(t)
	s := open(t, dir, ks)
	name, key, _ := s.NextKey(t.Context())
	if _, err := s.Stage(t.Context(), name, a.grant(t, key.Public(), nil)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Drop(), s.Sweep(t.Context())); err != nil {
		t.Fatal(err)
	}
	if name, _, _ := open(t, dir, ks).NextKey(t.Context()); name != "device-g2" {
		t.Errorf("next key is %s: the refused device-g1 would be two different keys", name)
	}
}

func TestAnInterruptedAttemptsKeyIsReused(t *testing.T) {
	s := open(t, t.TempDir(), keystest.NewStore(keys.ECDSAP256))
	name1, key1, _ := s.NextKey(t.Context())
	name2, key2, err := s.NextKey(t.Context())
	if err != nil || name1 != name2 || !key1.Public().(*ecdsa.PublicKey).Equal(key2.Public()) {
		t.Errorf("a second key was made: %s, %s, %v", name1, name2, err)
	}
}

func TestKeysOfOthersAreNotSwept(t *testing.T) {
	ks := keystest.NewStore(keys.ECDSAP256)
	for _, name := range []string{"bootstrap", "device-g9"} {
		if _, err := ks.Create(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	open(t, t.TempDir(), ks)
	if names, _ := ks.Names(t.Context()); !slices.Equal(names, []string{"bootstrap"}) {
		t.Errorf("left: %v, want only the key that is not ours", names)
	}
}

func TestDamageIsNotAbsence(t *testing.T) {
	dir, ks, a := t.TempDir(), keystest.NewStore(keys.ECDSAP256), newAuthority(t)
	advance(t, open(t, dir, ks), a)
	path := filepath.Join(dir, "current.json")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range len(good) * 8 {
		bad := slices.Clone(good)
		bad[bit/8] ^= 1 << (bit % 8)
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := identity.Open(t.Context(), dir, ks, nil)
		if err == nil && s.Current() != nil && s.Current().Generation == 1 {
			continue // a flip in white space, or in a name that JSON folds, changes nothing
		}
		if err == nil {
			t.Fatalf("bit %d flipped: taken for %v", bit, s.Current())
		}
		if fault.Of(err) != fault.Fatal || fault.Hint(err) == "" {
			t.Fatalf("bit %d flipped: %v is %v, hint %q", bit, err, fault.Of(err), fault.Hint(err))
		}
	}
	if names, _ := ks.Names(t.Context()); len(names) != 1 {
		t.Errorf("keys after reading damage: %v", names)
	}
}

func TestALostKeyLeadsToANewIdentityAndNotToACrashLoop(t *testing.T) {
	dir, ks, a := t.TempDir(), keystest.NewStore(keys.ECDSAP256), newAuthority(t)
	advance(t, open(t, dir, ks), a)
	other := keystest.NewStore(keys.ECDSAP256)
	s := open(t, dir, other)
	if s.Current() != nil || !errors.Is(s.Lost(), keys.ErrNotFound) {
		t.Fatalf("with another TPM the device is %v, lost: %v", s.Current(), s.Lost())
	}
	if back := open(t, dir, ks); back.Current() == nil || back.Lost() != nil {
		t.Error("with its own TPM again the device is nobody")
	}
	s = open(t, dir, other)
	if id := advance(t, s, a); id.Generation != 2 || s.Lost() != nil {
		t.Errorf("the next identity is generation %d, lost: %v", id.Generation, s.Lost())
	}
}

func TestAReplacedBootstrapCredentialIsEnrolledAgain(t *testing.T) {
	dir, ks, a := t.TempDir(), keystest.NewStore(keys.ECDSAP256), newAuthority(t)
	boot := keystest.NewStore(keys.ECDSAP256)
	key, _ := boot.Create(t.Context(), "b")
	s := open(t, dir, keys.With(ks, "bootstrap-1", key))
	if _, err := s.Stage(t.Context(), "bootstrap-1", a.grant(t, key.Public(), nil)); err != nil {
		t.Fatal(err)
	}
	if err := s.Promote(); err != nil {
		t.Fatal(err)
	}
	if s = open(t, dir, ks); s.Current() != nil {
		t.Fatalf("the device is still %v, with a key that it was taken away", s.Current())
	}
	if name, _, _ := s.NextKey(t.Context()); name != "device-g2" {
		t.Errorf("next generation's key is %s", name)
	}
}

func TestStageRefusesWhatWouldNotConnect(t *testing.T) {
	ks, a := keystest.NewStore(keys.ECDSAP256), newAuthority(t)
	s := open(t, t.TempDir(), ks)
	name, key, _ := s.NextKey(t.Context())
	other, _ := keystest.NewStore(keys.ECDSAP256).Create(t.Context(), "x")
	stranger := newAuthority(t)
	cases := map[string]identity.Grant{
		"another key":      a.grant(t, other.Public(), nil),
		"common name":      a.grant(t, key.Public(), func(c *x509.Certificate) { c.Subject.CommonName = "D1" }),
		"expired":          a.grant(t, key.Public(), func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) }),
		"not valid before": a.grant(t, key.Public(), func(c *x509.Certificate) { c.NotBefore = time.Now().Add(10 * time.Minute) }),
		"client authentication": a.grant(t, key.Public(), func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}),
		"key usage":   a.grant(t, key.Public(), func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }),
		"authority":   a.grant(t, key.Public(), func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }),
		"not signed":  {Assignment: identity.Assignment{DeviceID: "d1", Hub: "h"}, Chain: []*x509.Certificate{a.grant(t, key.Public(), nil).Chain[0], stranger.cert}},
		"certificate": {Assignment: identity.Assignment{DeviceID: "d1", Hub: "h"}},
		"no hub":      {Assignment: identity.Assignment{DeviceID: "d1"}, Chain: a.grant(t, key.Public(), nil).Chain},
	}
	for want, grant := range cases {
		_, err := s.Stage(t.Context(), name, grant)
		if err == nil || !strings.Contains(err.Error(), want) || fault.Of(err) != fault.Permanent {
			t.Errorf("%s: %v (%v)", want, err, fault.Of(err))
		}
	}
	if s.Pending() != nil {
		t.Error("something refused is pending")
	}
	if _, err := s.Stage(t.Context(), name, a.grant(t, key.Public(), nil)); err != nil {
		t.Errorf("a good grant: %v", err)
	}
}

func TestLookChangesNothing(t *testing.T) {
	dir, ks, a := t.TempDir(), keystest.NewStore(keys.ECDSAP256), newAuthority(t)
	advance(t, open(t, dir, ks), a)
	writing := filepath.Join(dir, "pending.json.tmp~")
	if err := os.WriteFile(writing, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	current, pending, err := identity.Look(dir)
	if err != nil || current == nil || current.Generation != 1 || pending != nil {
		t.Errorf("Look = %v, %v, %v", current, pending, err)
	}
	if _, err := os.Stat(writing); err != nil {
		t.Error("Look cleaned up under the agent that is writing")
	}
	if current, _, err := identity.Look(filepath.Join(dir, "nowhere")); current != nil || err != nil {
		t.Errorf("Look at nothing = %v, %v", current, err)
	}
}
