// Package regexp stands in for Go's package of this name in the YAML parser of the agent that is shipped. The parser has
// two regular expressions, and for them Go's engine and the tables of all scripts would be linked, 228 KB on arm64.
package regexp

import "strings"

// The expressions, as resolve.go and encode.go of go.yaml.in/yaml/v3 have them.
const (
	float  = `^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`
	base60 = `^[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?$`
)

const digits = "0123456789"

// Regexp is one of the two.
type Regexp func(s string) bool

// MustCompile panics for an expression that is neither: a newer parser has another, and this package must learn it.
func MustCompile(expression string) Regexp {
	switch expression {
	case float:
		return isFloat
	case base60:
		return isBase60
	}
	panic("third_party/yaml does not know the regular expression " + expression)
}

// MatchString says whether the whole of s is as the expression wants it.
func (r Regexp) MatchString(s string) bool { return r(s) }

func isFloat(s string) bool {
	whole := strings.TrimLeft(unsigned(s), digits)
	before := len(unsigned(s)) - len(whole)
	fraction, pointed := strings.CutPrefix(whole, ".")
	exponent := fraction
	if pointed {
		exponent = strings.TrimLeft(fraction, digits)
	}
	if before == 0 && len(exponent) == len(fraction) {
		return false
	}
	if exponent == "" {
		return true
	}
	power := unsigned(exponent[1:])
	return strings.IndexByte("eE", exponent[0]) >= 0 && power != "" && strings.Trim(power, digits) == ""
}

// isBase60 is for the numbers of YAML 1.1 such as 190:20:30, which an older parser must not take a string for.
func isBase60(s string) bool {
	places := strings.Split(unsigned(s), ":")
	last := len(places) - 1
	end, fraction, _ := strings.Cut(places[last], ".")
	places[last] = end
	first := places[0]
	if last == 0 || first == "" || first[0] == '_' || strings.Trim(first+fraction, digits+"_") != "" {
		return false
	}
	for _, p := range places[1:] {
		if p == "" || len(p) > 2 || strings.Trim(p, digits) != "" || len(p) == 2 && p[0] > '5' {
			return false
		}
	}
	return true
}

func unsigned(s string) string {
	if s != "" && (s[0] == '+' || s[0] == '-') {
		return s[1:]
	}
	return s
}
