package main

import (
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// secretPatterns say the same as secrets; what is in the first group stays.
var secretPatterns = []*regexp.Regexp{
	regexp.MustCompile(`(?s)()-----BEGIN .*?(?:-----END [A-Z0-9 ]*-----|$)`),
	regexp.MustCompile(`(://)[^/\s@"'\\]+@`),
	regexp.MustCompile(`(?i)(pin-value=|\bsig=|sharedaccesskey=)[^&;\s"'\\]+`),
	regexp.MustCompile(`(?i)(SharedAccessSignature )[^"'\\\n]+`),
	regexp.MustCompile(`()\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_.-]+`),
	regexp.MustCompile(`()[A-Za-z0-9+/]{20,}={1,2}`),
	regexp.MustCompile(`\b([A-Z0-9_]*(?:PASS|SECRET|TOKEN|KEY|PIN)[A-Z0-9_]*=)[^\s,\]"'\\]+`),
	regexp.MustCompile(`(?i)(\b(?:password|passphrase|secret|token|pin-value)["']?[ \t]*:[ \t]*)[^\s,}][^,}\n]*`),
	regexp.MustCompile(`(\bpin["']?[ \t]*:[ \t]*)["']?\d+["']?`),
}

func FuzzSecretsAreTakenOutAsTheirPatternsSay(f *testing.F) {
	for _, s := range []string{
		"a -----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY----- b -----BEGIN X", "-----BEGIN -----END a----------END B-----",
		"https://user:pass@host/x https://host/@ ://@", "pkcs11:token=x?pin-value=1234&y=1 PIN-VALUE=a;b sig=abc%3D&x design=x SharedAccessKey=\"x",
		"SharedAccessSignature sr=x&sig=y\nb sharedaccesssignature \"", "x eyJhbGciOiJI.eyJzdWIi.sig- eyJshort.x xeyJhbGciOiJI.x eyJhbGciOiJI. y",
		"key: " + strings.Repeat("Ab+/", 10) + "= " + strings.Repeat("x", 19) + "= " + strings.Repeat("x", 20) + "=== z",
		"MY_PASSWORD=hunter2, A1KEY=x] PIN= key=1 TOKENS=\"a", `{"password" : "x", 'secret':y} Token:	z`, "passphrase: \nproxy_password: f", "pin-value: 1",
		`pin: 1234 "pin": "99" 'pin':'1 pins: 3 pin: x pin:''4`, "token: }", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII }) {
			return // letters such as the sign of the kelvin are those of ASCII only to a regular expression
		}
		want := s
		for _, pattern := range secretPatterns {
			want = pattern.ReplaceAllString(want, "${1}(taken out)")
		}
		if got := harmless(s); got != want {
			t.Errorf("%q\nbecomes %q\nwant    %q", s, got, want)
		}
	})
}
