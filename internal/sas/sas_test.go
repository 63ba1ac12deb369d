package sas

import (
	"context"
	"encoding/base64"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

const (
	group  = "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw=="
	id     = "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6"
	device = "18RQk/hOPJR9EbsJlk2j8WA6vWaj/yi+oaYg7zmxfQNdOyMSu+SJ8O7TSlZhDJCYmn4rzEiVKIzNiVAWjLxrGA=="
)

func decode(t *testing.T, text string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDerivedKeyIsThatOfMicrosoftsExample(t *testing.T) {
	if got := base64.StdEncoding.EncodeToString(DeriveKey(decode(t, group), id)); got != "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc=" {
		t.Errorf("derived %s", got)
	}
}

func TestTokensAreThoseOfTheVectors(t *testing.T) {
	for name, v := range map[string]struct {
		resource, keyName string
		expiry            int64
		key               []byte
		want              string
	}{
		"at DPS": {"0ne00111111/registrations/my-symkey-device", "registration", 1663952627, decode(t, device),
			"SharedAccessSignature sr=0ne00111111%2Fregistrations%2Fmy-symkey-device&sig=8VPprb8BiTkuVE0hBqHm%2FSVrzVpdD8VZcXugntdbhuU%3D&se=1663952627&skn=registration"},
		"at a hub": {"myhub.azure-devices.net/devices/" + id, "", 1900000000, DeriveKey(decode(t, group), id),
			"SharedAccessSignature sr=myhub.azure-devices.net%2Fdevices%2F" + id + "&sig=sqoHniGlfOrjj%2FsXSz%2F%2BT4YSRtGIoQ9SclYb5sCYbGQ%3D&se=1900000000"},
	} {
		got, err := Token(t.Context(), v.resource, v.keyName, time.Unix(v.expiry, 999), SharedKey(v.key))
		if err != nil || got != v.want {
			t.Errorf("%s: %v\n got %s\nwant %s", name, err, got, v.want)
		}
	}
}

func TestAnyResourceAndKeyNameComeBackFromTheToken(t *testing.T) {
	for _, text := range []string{"hub.azure-devices.net/devices/a b+c%d=e&f;g'h", "ü/ß", ""} {
		token, err := Token(t.Context(), text, text, time.Unix(1, 0), SharedKey([]byte("k")))
		if err != nil {
			t.Fatal(err)
		}
		fields, ok := strings.CutPrefix(token, "SharedAccessSignature ")
		values, err := url.ParseQuery(fields)
		if !ok || err != nil || values.Get("sr") != text || values.Get("skn") != text || strings.ContainsAny(fields, "+ ") {
			t.Errorf("%q: %s", text, token)
		}
	}
}

func TestHardwareThatDoesNotSignKeepsItsLabel(t *testing.T) {
	_, err := Token(t.Context(), "r", "", time.Now(), func(context.Context, []byte) ([]byte, error) {
		return nil, fault.AskOperator(errors.New("tpm: in lockout"), "wait")
	})
	if fault.Of(err) != fault.Operator || fault.Hint(err) != "wait" {
		t.Errorf("%v: %v", fault.Of(err), err)
	}
}
