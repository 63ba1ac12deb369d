// Package idna stands in for the one that net/http brings, in the agent: its servers have names in ASCII, and the tables of
// Unicode are 200 KB. A name in another script is refused, and can be written as it is in DNS.
package idna

import "errors"

var errASCII = errors.New("idna: write the host name as it is in DNS (xn--…)")

// Profile is what net/http asks.
type Profile struct{}

// Lookup is the only one.
var Lookup = &Profile{}

// ToASCII returns name, which has to be in ASCII.
func (*Profile) ToASCII(name string) (string, error) { return ToASCII(name) }

// ToASCII returns name, which has to be in ASCII.
func ToASCII(name string) (string, error) {
	for i := range len(name) {
		if name[i] >= 0x80 {
			return "", errASCII
		}
	}
	return name, nil
}
