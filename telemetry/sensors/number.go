package sensors

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// decimal is the number that s is. No driver counts further than 64 bits: what is beyond is rubbish, as are NaN and Inf.
func decimal(s string) (float64, error) {
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(n) || math.Abs(n) > math.MaxUint64 {
		return 0, fmt.Errorf("%s is no measurement", quote(s))
	}
	return n, nil
}

// quote shows the beginning of what somebody else has written.
func quote(s string) string { return excerpt(s, 60) }

// excerpt is the first bytes of s, in quotes.
func excerpt(s string, bytes int) string {
	s = strings.TrimSpace(s)
	if len(s) > bytes {
		for bytes > 0 && !utf8.RuneStart(s[bytes]) {
			bytes--
		}
		s = s[:bytes] + "…"
	}
	return strconv.Quote(s)
}
