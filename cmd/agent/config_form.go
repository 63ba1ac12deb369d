package main

import "strings"

// What these functions say is said shorter by regular expressions: but Go's engine for them, with the tables of all
// scripts, is 228 KB of the binary, and nothing else in it needs one.
const (
	digits       = "0123456789"
	hexDigits    = digits + "abcdefABCDEF"
	alphanumeric = digits + "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// madeOf says whether s is not empty, and of nothing but these characters.
func madeOf(s, characters string) bool { return s != "" && strings.Trim(s, characters) == "" }

// isDeviceID: DPS allows 128 characters, a common name 64 (Microsoft Learn, "DPS terminology", registration ID; RFC 5280 A.1).
func isDeviceID(s string) bool {
	return madeOf(s, alphanumeric+"-._:") && len(s) <= 64 && madeOf(s[len(s)-1:], alphanumeric+"-")
}

func isHostName(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if !madeOf(label, alphanumeric+"-") || strings.Trim(label, "-") != label {
			return false
		}
	}
	return true
}

// isAPIVersion: as 2021-06-01, or a preview.
func isAPIVersion(s string) bool {
	date := strings.TrimSuffix(s, "-preview")
	return len(date) == len("2021-06-01") && date[4] == '-' && date[7] == '-' && madeOf(date[:4]+date[5:7]+date[8:], digits)
}

func isIDScope(s string) bool { return madeOf(s, alphanumeric) }

// isTCTI says whether s is of a form that the TPM's room can open.
func isTCTI(s string) bool {
	for _, prefix := range []string{"device:/", "swtpm:path="} {
		if path, ok := strings.CutPrefix(s, prefix); ok {
			return path != "" && !strings.Contains(path, "\n")
		}
	}
	server, ok := strings.CutPrefix(s, "swtpm:")
	if rest, named := strings.CutPrefix(server, "host="); named {
		var host string
		host, server, _ = strings.Cut(rest, ",")
		ok = ok && host != ""
	}
	port, numbered := strings.CutPrefix(server, "port=")
	return ok && numbered && madeOf(port, digits)
}

func isHandle(s string) bool {
	handle, ok := strings.CutPrefix(s, "handle:")
	return ok && isPersistent(handle)
}

// isPersistent: the handles of the owner's persistent objects begin with 0x81 (TPM 2.0 part 2, 7.4).
func isPersistent(s string) bool {
	number, ok := strings.CutPrefix(s, "0x81")
	return ok && len(number) == 6 && madeOf(number, hexDigits)
}

// isVariable: NAME=VALUE.
func isVariable(s string) bool {
	name, _, ok := strings.Cut(s, "=")
	return ok && madeOf(name, alphanumeric+"_") && strings.TrimLeft(name, digits) == name
}
