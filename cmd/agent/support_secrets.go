package main

import "strings"

// A secret finds one that begins at s[i:], and says which part of s to take out. What a person may have put into a
// configuration in spite of all, or a server into an error. Regular expressions would be shorter: see config_form.go.
type secret func(s string, i int) (from, to int, found bool)

var secrets = []secret{secretPEM, secretInURL, secretInQuery, secretSAS, secretJWT, secretBase64, secretVariable, secretField, secretPIN}

const (
	blanks   = " \t\n\f\r"
	wordMade = alphanumeric + "_"
)

// harmless is text without its secrets.
func harmless(text string) string {
	for _, find := range secrets {
		var b strings.Builder
		for i := 0; i < len(text); {
			from, to, found := find(text, i)
			if !found {
				from, to = i+1, i+1
			}
			b.WriteString(text[i:from])
			if found {
				b.WriteString("(taken out)")
			}
			i = to
		}
		text = b.String()
	}
	return text
}

// begins says whether a word begins at s[i:].
func begins(s string, i int) bool { return i == 0 || strings.IndexByte(wordMade, s[i-1]) < 0 }

// folded says whether s[i:] begins with word, in whatever case.
func folded(s string, i int, word string) bool {
	return len(s)-i >= len(word) && strings.EqualFold(s[i:i+len(word)], word)
}

// run is the end of the characters of s[i:] that are among these, and until of those that are not.
func run(s string, i int, among string) int {
	for i < len(s) && strings.IndexByte(among, s[i]) >= 0 {
		i++
	}
	return i
}

func until(s string, i int, among string) int {
	if n := strings.IndexAny(s[i:], among); n >= 0 {
		return i + n
	}
	return len(s)
}

func secretPEM(s string, i int) (from, to int, found bool) {
	const begin, end = "-----BEGIN ", "-----END "
	if !strings.HasPrefix(s[i:], begin) {
		return
	}
	for to = i + len(begin); ; {
		n := strings.Index(s[to:], end)
		if n < 0 {
			return i, len(s), true
		}
		to = run(s, to+n+len(end), "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ")
		if strings.HasPrefix(s[to:], "-----") {
			return i, to + len("-----"), true
		}
	}
}

func secretInURL(s string, i int) (from, to int, found bool) {
	if !strings.HasPrefix(s[i:], "://") {
		return
	}
	from = i + len("://")
	to = until(s, from, blanks+`/@"'\`)
	return from, to + 1, to > from && to < len(s) && s[to] == '@'
}

func secretInQuery(s string, i int) (from, to int, found bool) {
	for _, key := range []string{"pin-value=", "sig=", "sharedaccesskey="} {
		if folded(s, i, key) && (key != "sig=" || begins(s, i)) {
			from = i + len(key)
			to = until(s, from, blanks+`&;"'\`)
			return from, to, to > from
		}
	}
	return
}

func secretSAS(s string, i int) (from, to int, found bool) {
	const scheme = "SharedAccessSignature "
	if !folded(s, i, scheme) {
		return
	}
	from = i + len(scheme)
	to = until(s, from, "\"'\\\n")
	return from, to, to > from
}

func secretJWT(s string, i int) (from, to int, found bool) {
	if !strings.HasPrefix(s[i:], "eyJ") || !begins(s, i) {
		return
	}
	head := run(s, i, wordMade+"-")
	if head-i < len("eyJ")+8 || head == len(s) || s[head] != '.' {
		return
	}
	to = run(s, head+1, wordMade+".-")
	return i, to, to > head+1
}

// secretBase64: keys have 32 or 64 bytes, and so end in "=".
func secretBase64(s string, i int) (from, to int, found bool) {
	const base64 = alphanumeric + "+/"
	if i > 0 && strings.IndexByte(base64, s[i-1]) >= 0 {
		return
	}
	end := run(s, i, base64)
	to = min(run(s, end, "="), end+2)
	return i, to, end-i >= 20 && to > end
}

// secretVariable is one of an environment.
func secretVariable(s string, i int) (from, to int, found bool) {
	if !begins(s, i) {
		return
	}
	end := run(s, i, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
	if end == i || end == len(s) || s[end] != '=' {
		return
	}
	to = until(s, end+1, blanks+`,]"'\`)
	for _, word := range []string{"PASS", "SECRET", "TOKEN", "KEY", "PIN"} {
		found = found || strings.Contains(s[i:end], word)
	}
	return end + 1, to, found && to > end+1
}

// value is where the value begins of a field whose name ends at s[i:], as in YAML or JSON; -1 where it is none.
func value(s string, i int) int {
	if i < len(s) && (s[i] == '"' || s[i] == '\'') {
		i++
	}
	i = run(s, i, " \t")
	if i == len(s) || s[i] != ':' {
		return -1
	}
	return run(s, i+1, " \t")
}

func secretField(s string, i int) (from, to int, found bool) {
	for _, name := range []string{"password", "passphrase", "secret", "token", "pin-value"} {
		if !folded(s, i, name) || !begins(s, i) {
			continue
		}
		from = value(s, i+len(name))
		if from < 0 || from == len(s) || strings.IndexByte(blanks+",}", s[from]) >= 0 {
			return
		}
		return from, until(s, from, ",}\n"), true
	}
	return
}

func secretPIN(s string, i int) (from, to int, found bool) {
	if !strings.HasPrefix(s[i:], "pin") || !begins(s, i) {
		return
	}
	if from = value(s, i+len("pin")); from < 0 {
		return
	}
	quotes := `"'`
	begin := min(run(s, from, quotes), from+1)
	end := run(s, begin, digits)
	return from, min(run(s, end, quotes), end+1), end > begin
}

// cleaned is v with all of its strings harmless.
func cleaned(v any) any {
	switch v := v.(type) {
	case string:
		return harmless(v)
	case []any:
		for i := range v {
			v[i] = cleaned(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = cleaned(v[k])
		}
	}
	return v
}
