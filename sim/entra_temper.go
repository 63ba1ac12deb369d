package sim

import "time"

// EntraTemper is how the token endpoint misbehaves. The zero value is a good one. Numbers count per client, from 1.
type EntraTemper struct {
	Status      int           // the first StatusTimes requests are answered with it
	StatusTimes int           // 0 is every one
	RetryAfter  time.Duration // with 429 and 503; 0 leaves the header out
	Page        bool          // a web page, 200, instead of a token
	TokenLife   time.Duration // of an access token; 1 hour
	Propagation time.Duration // a certificate works only so long after it was registered: AADSTS700027 until then
	AllowRS256  bool          // an assertion by RS256 with x5t is good, as the older documentation had it
	AllowReplay bool          // an assertion is good more than once
	ClockOffset time.Duration // of the server
}
