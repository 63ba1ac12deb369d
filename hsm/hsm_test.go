package hsm_test

import (
	"crypto"
	"crypto/rand"
	"errors"
	"strings"
	"testing"

	"github.com/devid-agent/devid-agent/attest"
	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/hsm"
	"github.com/devid-agent/devid-agent/hsm/hsmtest"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
)

func TestMain(m *testing.M) { hsmtest.Main(m) }

func create(t *testing.T, s keys.Store, name string) crypto.Signer {
	t.Helper()
	key, err := s.Create(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func verify(t *testing.T, key crypto.Signer) {
	t.Helper()
	if err := keystest.Verify(key); err != nil {
		t.Error(err)
	}
}

func sign(key crypto.Signer) error {
	_, err := key.Sign(rand.Reader, make([]byte, 32), crypto.SHA256)
	return err
}

// wantWords says that err does not have all the words and asks for a person with a remedy.
func wantWords(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want %q", words)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
	if fault.Hint(err) == "" {
		t.Errorf("error %q names no remedy", err)
	}
}

func TestStoreKeepsTheContract(t *testing.T) {
	for _, a := range []keys.Algorithm{keys.ECDSAP256, keys.ECDSAP384, keys.RSA2048} {
		t.Run(string(a), func(t *testing.T) {
			t.Parallel()
			keystest.Suite(t, a, func(t *testing.T) keystest.Place {
				token := hsmtest.Start(t)
				return func(t *testing.T) keys.Store {
					c := token.Config()
					c.Algorithm = a
					return token.Open(t, c)
				}
			}, offline)
		})
	}
}

// offline is a verifier who has no token.
func offline(e keys.Evidence, nonce []byte) error {
	_, err := attest.Verify(e, attest.Question{Nonce: nonce})
	return err
}

func TestLongRSAKeysAreMadeAndSign(t *testing.T) {
	for _, a := range []keys.Algorithm{keys.RSA3072, hsm.RSA4096} {
		token := hsmtest.Start(t)
		c := token.Config()
		c.Algorithm = a
		s := token.Open(t, c)
		verify(t, create(t, s, "device-g1"))
		facts, err := s.Inspect(t.Context(), "device-g1")
		if err != nil || facts.Algorithm != string(a) {
			t.Errorf("facts %+v, %v", facts, err)
		}
	}
}

func TestAKeyIsBornSensitiveAndStays(t *testing.T) {
	token := hsmtest.Start(t)
	s := token.Open(t, token.Config())
	create(t, s, "device-g1")
	facts, err := s.Inspect(t.Context(), "device-g1")
	if err != nil {
		t.Fatal(err)
	}
	want := "CKA_TOKEN CKA_PRIVATE CKA_SENSITIVE CKA_ALWAYS_SENSITIVE CKA_NEVER_EXTRACTABLE CKA_LOCAL CKA_SIGN"
	if got := strings.Join(facts.Attributes, " "); got != want {
		t.Errorf("attributes %s, want %s", got, want)
	}
	if facts.Export != "C_GetAttributeValue(CKA_VALUE): CKR_ATTRIBUTE_SENSITIVE" || !facts.Refused {
		t.Errorf("export %q, refused %v", facts.Export, facts.Refused)
	}
	if !strings.HasPrefix(facts.Place, "token devid test (SoftHSM project SoftHSM v2, serial ") || !strings.HasSuffix(facts.Place, " through libsofthsm2.so") {
		t.Errorf("place %q", facts.Place)
	}
	listed := token.Tool("--list-objects", "--type", "privkey")
	if !strings.Contains(listed, "devid-agent:device-g1") || !strings.Contains(listed, "sensitive, always sensitive, never extractable, local") {
		t.Errorf("pkcs11-tool sees\n%s", listed)
	}
}

func TestAKeyThatTheFactoryMadeIsAdopted(t *testing.T) {
	token := hsmtest.Start(t)
	s := token.Open(t, token.Config())
	for kind, uri := range map[string]string{
		"EC:secp256r1": "pkcs11:object=factory%201;type=private", "EC:secp384r1": "pkcs11:token=devid%20test;id=%02", "rsa:2048": "pkcs11:object=factory%203;id=%03",
	} {
		number := map[string]string{"EC:secp256r1": "1", "EC:secp384r1": "2", "rsa:2048": "3"}[kind]
		token.Tool("--keypairgen", "--key-type", kind, "--label", "factory "+number, "--id", "0"+number, "--usage-sign")
		key, err := s.Load(t.Context(), uri)
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		verify(t, key)
	}
	if _, err := s.Load(t.Context(), "pkcs11:object=factory%209"); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("an absent key: %v", err)
	}
	_, err := s.Load(t.Context(), "pkcs11:token=another;object=factory%201")
	wantWords(t, err, "another token")
	if names, err := s.Names(t.Context()); len(names) != 0 || err != nil {
		t.Errorf("the factory's keys are taken for ours: %q, %v", names, err)
	}
}

func TestAnAmbiguousLabelIsRefused(t *testing.T) {
	token := hsmtest.Start(t)
	s := token.Open(t, token.Config())
	for _, id := range []string{"01", "02"} {
		token.Tool("--keypairgen", "--key-type", "EC:secp256r1", "--label", "devid-agent:device-g1", "--id", id, "--usage-sign")
	}
	_, openErr := s.Open(t.Context(), "device-g1")
	wantWords(t, openErr, "more than one key fits", "2 private keys")
	wantWords(t, s.Delete(t.Context(), "device-g1"), "more than one key fits")
	key, err := s.Load(t.Context(), "pkcs11:object=devid-agent:device-g1;id=%02")
	if err != nil {
		t.Fatal(err)
	}
	verify(t, key)
}

func TestAnAmbiguousTokenIsRefused(t *testing.T) {
	token := hsmtest.Start(t)
	token.Init("devid test")
	_, err := token.Open(t, token.Config()).Names(t.Context())
	wantWords(t, err, "more than one token fits", "SoftHSM project")
}

func TestKeysOfTwoStoresDoNotMix(t *testing.T) {
	token := hsmtest.Start(t)
	c, d := token.Config(), token.Config()
	d.Prefix = "other:"
	first, second := token.Open(t, c), token.Open(t, d)
	a, b := create(t, first, "device-g1"), create(t, second, "device-g1")
	for range 3 {
		verify(t, a)
		verify(t, b)
	}
	if err := first.Delete(t.Context(), "device-g1"); err != nil {
		t.Fatal(err)
	}
	verify(t, b)
	if err := sign(a); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("sign with a deleted key: %v", err)
	}
}

func TestAKeyDeletedByAStrangerIsNotFound(t *testing.T) {
	token := hsmtest.Start(t)
	key := create(t, token.Open(t, token.Config()), "device-g1")
	if err := token.Open(t, token.Config()).Delete(t.Context(), "device-g1"); err != nil {
		t.Fatal(err)
	}
	if err := sign(key); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("sign: %v", err)
	}
}

func TestRandomBytesComeFromTheToken(t *testing.T) {
	token := hsmtest.Start(t)
	s := token.Open(t, token.Config())
	a, errA := s.Random(t.Context(), 32)
	b, errB := s.Random(t.Context(), 32)
	if errA != nil || errB != nil || string(a) == string(b) || len(a) != 32 {
		t.Errorf("%x, %v; %x, %v", a, errA, b, errB)
	}
}

func TestTheEvidenceOfAKeyIsSignedByTheKeyAndVerifies(t *testing.T) {
	token := hsmtest.Start(t)
	s := token.Open(t, token.Config())
	key := create(t, s, "device-g1")
	nonce := []byte("sixteen bytes..!")
	e, err := s.Attest(t.Context(), "device-g1", nonce)
	if err != nil {
		t.Fatal(err)
	}
	if err := keystest.CheckSignature(key.Public(), e.Statement(), e.Token.Signature, crypto.SHA256); err != nil {
		t.Error(err)
	}
	if !e.Token.Local || !e.Token.AlwaysSensitive || !e.Token.NeverExtractable || !strings.HasPrefix(e.Token.Library, "SoftHSM Implementation of PKCS11 2.") {
		t.Errorf("evidence %+v", e.Token)
	}
	e.Nonce = []byte("another nonce...")
	if keystest.CheckSignature(key.Public(), e.Statement(), e.Token.Signature, crypto.SHA256) == nil {
		t.Error("the evidence fits another nonce")
	}
	for _, n := range []int{0, 15, 65} {
		if _, err := s.Attest(t.Context(), "device-g1", make([]byte, n)); err == nil {
			t.Errorf("a nonce of %d bytes went through", n)
		}
	}
}
