package station

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"unicode"

	"github.com/devid-agent/devid-agent/internal/web"
)

func FuzzConnectionString(f *testing.F) {
	f.Add("HostName=hub.azure-devices.net;SharedAccessKeyName=iothubowner;SharedAccessKey=c2VjcmV0IGtleQ==")
	f.Add("HostName=hub:443;SharedAccessKeyName=x;SharedAccessKey=AAAA\n")
	f.Add("HostName=hub;DeviceId=gw-1;SharedAccessKey=AAAA")
	f.Add(";;=;SharedAccessKey=;")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseConnection(text)
		if err != nil {
			return
		}
		if c.Host == "" || c.Policy == "" || len(c.key) == 0 || strings.ContainsAny(c.Host, "/@?# ") {
			t.Errorf("%q gives %+v", text, c)
		}
	})
}

func FuzzCertificateRequest(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n"))
	f.Add([]byte{0x30, 0x00})
	for _, seed := range requestSeeds(f) {
		f.Add(seed)
	}
	p := DefaultPolicy()
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRequest(b)
		if err != nil {
			return
		}
		if p.Allow(r, 30) == nil && (len(r.Subject.CommonName) == 0 || len(r.Subject.CommonName) > 64) {
			t.Errorf("allowed %q", r.Subject.CommonName)
		}
	})
}

// requestSeeds are requests of devices, with extensions and without.
func requestSeeds(f *testing.F) [][]byte {
	dir := f.TempDir()
	s, err := OpenFiles(dir, "")
	if err != nil {
		f.Fatal(err)
	}
	key, err := s.Create(f.Context(), "seed")
	if err != nil {
		f.Fatal(err)
	}
	var all [][]byte
	for _, request := range seedRequests {
		der, err := request(key)
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, der, EncodeRequest(der))
	}
	return all
}

func FuzzEZCAAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"Success":true,"Message":"[{\"CAID\":\"x\"}]"}`, `{"Success":false,"Message":"no"}`, `[{"CAID":"x"}]`, `"[{\"CAID\":\"x\"}]"`,
		`{"CertificatePEM":"AAAA","IssuingCACertificate":"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n","RootCertificate":""}`,
		`Error: not allowed`, `"Error: not allowed"`, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", ``, `""`, `null`, "\xef\xbb\xbf[]",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		a := &web.Answer{Status: 200, Header: http.Header{}, Body: body}
		var list []CATemplate
		_ = decode(a, &list)
		_, _ = decodeMessage(a)
		if text, err := decodeChain(a); err == nil && len(bytes.TrimSpace(text)) == 0 {
			t.Errorf("%q gives a chain of nothing", body)
		}
	})
}

func FuzzComplaint(f *testing.F) {
	f.Add([]byte(`{"Message":"ErrorCode:DeviceNotFound;gone","ExceptionMessage":"Tracking ID:1"}`))
	f.Add([]byte(`{"errorCode":404201,"trackingId":"x","message":"Enrollment not found."}`))
	f.Add([]byte("\x1b[31mred\x07"))
	f.Add([]byte(`{"message":"\u001b[2J"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		text := complaint(&web.Answer{Status: 400, Header: http.Header{}, Body: body})
		if strings.ContainsFunc(text, unicode.IsControl) || len([]rune(text)) > 1000 {
			t.Errorf("%q reaches the terminal", text)
		}
	})
}

func FuzzEndorsementKey(f *testing.F) {
	f.Add([]byte{0, 8, 0, 1, 0, 0x0b, 0, 3, 0, 0xb2})
	f.Add([]byte("AAgAAQALAAMAsg=="))
	f.Add([]byte{0xff, 0xff, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		text, err := ParseEndorsementKey(b)
		if err != nil {
			return
		}
		public, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(public) != 2+int(public[0])<<8+int(public[1]) {
			t.Errorf("%x gives %s", b, text)
		}
	})
}

func FuzzItemFile(f *testing.F) {
	for _, target := range []string{"", "gw-1", "../x", "a/b", ".", "..", "user@host:22", strings.Repeat("é", 200), "\x00"} {
		f.Add(target)
	}
	f.Fuzz(func(t *testing.T, target string) {
		name := fileOf(target)
		if strings.ContainsAny(name, "/\x00") || strings.HasPrefix(name, ".") || len(name) > 255 {
			t.Errorf("%q is the file %q", target, name)
		}
		if _, err := json.Marshal(Item{Target: target}); err != nil {
			t.Error(err)
		}
	})
}
