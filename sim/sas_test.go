package sim

import (
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func unbase64(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The vectors were made with Microsoft's clients. One writes the resource percent-encoded, one does not.
func TestTokensOfOtherClientsOpenTheirResource(t *testing.T) {
	groupKey := unbase64(t, "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==")
	deviceKey := DerivedKey(groupKey, "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6")
	if text := base64.StdEncoding.EncodeToString(deviceKey); text != "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc=" {
		t.Fatalf("derived %s", text)
	}
	key := unbase64(t, "18RQk/hOPJR9EbsJlk2j8WA6vWaj/yi+oaYg7zmxfQNdOyMSu+SJ8O7TSlZhDJCYmn4rzEiVKIzNiVAWjLxrGA==")
	for _, v := range []struct {
		resource, written, stamp, sig string
		key                           []byte
	}{
		{"0ne00111111/registrations/my-symkey-device", "0ne00111111%2Fregistrations%2Fmy-symkey-device", "1663952627", "8VPprb8BiTkuVE0hBqHm/SVrzVpdD8VZcXugntdbhuU=", key},
		{"0ne00111111/registrations/MY-symkey-device", "0ne00111111/registrations/my-symkey-device", "1663952627", "nywv584Rsikp8eagkd4XnrDkLPXMGakB0DWzqcS0hPQ=", key},
		{"myhub.azure-devices.net/devices/sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6", "myhub.azure-devices.net%2Fdevices%2Fsn-007-888-abc-mac-a1-b2-c3-d4-e5-f6", "1900000000",
			"sqoHniGlfOrjj/sXSz/+T4YSRtGIoQ9SclYb5sCYbGQ=", deviceKey},
	} {
		synctest.Test(t, func(t *testing.T) { // where it is the year 2000
			got, err := parseToken("SharedAccessSignature sr=" + v.written + "&sig=" + url.QueryEscape(v.sig) + "&se=" + v.stamp)
			if err == nil {
				err = got.check(v.resource, "", v.key)
			}
			if err != nil {
				t.Errorf("%s: %v", v.written, err)
			}
		})
	}
}

func TestATokenIsRefusedForEveryMistake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := newSecret(32)
		make := func(resource, stamp string) string {
			return "SharedAccessSignature sr=" + resource + "&sig=" + url.QueryEscape(base64.StdEncoding.EncodeToString(mac(key, resource+"\n"+stamp))) + "&se=" + stamp
		}
		good := make("scope%2Fa", "2000000000") + "&skn=registration"
		for name, c := range map[string]struct{ text, why string }{
			"good":            {good, ""},
			"sorted":          {strings.Replace(good, "SharedAccessSignature sr=scope%2Fa&", "SharedAccessSignature ", 1) + "&sr=scope%2Fa", ""},
			"other scheme":    {strings.Replace(good, "SharedAccess", "Shared", 1), "not a shared access signature"},
			"unknown field":   {good + "&x=1", "a field"},
			"twice":           {good + "&se=2000000000", "a field"},
			"no resource":     {"SharedAccessSignature sig=AAAA&se=1", "without sr"},
			"no expiry":       {"SharedAccessSignature sr=a&sig=AAAA", "with se"},
			"not encoded":     {"SharedAccessSignature sr=a&sig=++++&se=1", "with sig"},
			"other resource":  {make("scope%2Fb", "2000000000") + "&skn=registration", "not for"},
			"no key name":     {make("scope%2Fa", "2000000000"), "names the key"},
			"expired":         {make("scope%2Fa", "946684800") + "&skn=registration", "expired"},
			"later than said": {strings.Replace(good, "se=2000000000", "se=2000000001", 1), "not signed"},
			"encoded since":   {strings.Replace(good, "scope%2F", "scope%2f", 1), "not signed"},
		} {
			got, err := parseToken(c.text)
			if err == nil {
				err = got.check("SCOPE/a", "registration", nil, key)
			}
			if c.why == "" && err != nil || c.why != "" && (err == nil || !strings.Contains(err.Error(), c.why)) {
				t.Errorf("%s: %v, want %q", name, err, c.why)
			}
		}
		got, err := parseToken(good)
		if err != nil || got.check("scope/a", "registration", newSecret(32)) == nil || got.check("scope/a", "registration", []byte{}) == nil {
			t.Errorf("another key opens it too: %v", err)
		}
		time.Sleep(100 * 365 * 24 * time.Hour)
		if got.check("scope/a", "registration", key) == nil {
			t.Error("it outlived its time")
		}
	})
}

// FuzzParseToken: whatever a device writes is a token with a resource and a moment, or an error.
func FuzzParseToken(f *testing.F) {
	for _, seed := range []string{
		"SharedAccessSignature sr=0ne00111111%2Fregistrations%2Fd&sig=8VPprb8BiTkuVE0hBqHm%2FSVrzVpdD8VZcXugntdbhuU%3D&se=1663952627&skn=registration",
		"SharedAccessSignature sr=a&sig=&se=1", "SharedAccessSignature ", "SharedAccessSignature &&", "Bearer x",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parseToken(s)
		if err == nil && (got.resource == "" || got.stamp == "") {
			t.Errorf("%q: %+v", s, got)
		}
		if err == nil {
			got.check("a", "", []byte("key"))
		}
	})
}

// FuzzParsePublic: whatever a TPM presents is a storage key that a secret can be protected for, or an error.
func FuzzParsePublic(f *testing.F) {
	f.Add([]byte{0, 0})
	f.Add([]byte{0, 4, 0, 1, 0, 11})
	point, err := hex.DecodeString("005a0023000b0003047200000006008000430010000300100020d137ada9d53ef572c45c99ed83bd66a2f91c060097dc124798945f85c75e6e9300206822572cfd967219dba970fd2a2a2ab525df3cb56577bd2aa8a6c2f15fed4d44")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(point)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parsePublic(b)
		if err != nil {
			return
		}
		if _, _, err := p.protect("IDENTITY", p.name, []byte("secret")); err != nil && p.ecc != nil {
			t.Errorf("%x: %v", b, err)
		}
	})
}
