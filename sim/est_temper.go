package sim

import "time"

// ESTTemper is how the EST server misbehaves. The zero value is a good one. Numbers count per device, from 1.
type ESTTemper struct {
	Pending      int           // the first n requests are answered 202
	Status       int           // the first StatusTimes requests are answered with it
	StatusTimes  int           // 0 is every one
	InfoStatus   int           // cacerts and csrattrs are answered with it
	RetryAfter   time.Duration // with 202, 429 and 503; 0 leaves the header out
	RetryDate    bool          // Retry-After is a date
	Created      bool          // success is 201, as foundries.io's server has it
	Answer       ESTAnswer     // what is wrong with the certificate or its envelope
	Info         ESTAnswer     // the same, of cacerts
	Encoding     ESTEncoding   // of every answer
	Attributes   []byte        // CsrAttrs, DER; nil is 204
	ClockOffset  time.Duration // of the server
	OnePeer      bool          // 401 unless exactly one certificate is presented, as foundries.io's server has it
	ExactType    bool          // 415 for "application/pkcs10" with a parameter
	NoReenroll   bool          // simplereenroll is 404
	SameHash     bool          // 400 unless the request is signed by the algorithm of the CA, as foundries.io's server has it
	OldIssuer    bool          // after a rollover the old issuing CA still signs
	RedirectTo   string        // the first request for a path is redirected to this place, followed by the path
	RedirectCode int           // by this status; 0 is 307
	BasicForInfo bool          // cacerts and csrattrs are 401 without HTTP Basic
	// TooEarly refuses a renewal with 403 and Retry-After as long as more than this is left of the old certificate.
	TooEarly time.Duration
}

// ESTAnswer is a way in which an answer can be wrong.
type ESTAnswer uint8

// The ways.
const (
	ESTGood         ESTAnswer = iota
	ESTPage                   // a web page, 200
	ESTWrongKey               // the certificate is for another key
	ESTWrongSubject           // it is for another device
	ESTWrongIssuer            // it is from a CA that cacerts does not name
	ESTExpired                // it has expired
	ESTFuture                 // it begins in an hour
	ESTWithChain              // its chain comes along
	ESTLostNames              // it lacks the alternative names
	ESTOldOne                 // it is the one that the device has
	ESTEmpty                  // 200 and nothing
	ESTNoCerts                // an envelope without certificates
	ESTRubbish                // not CMS
	ESTTruncated              // the connection ends in the middle of the body
	ESTSlow                   // a byte in two seconds
	ESTHuge                   // megabytes
	ESTWrongType              // text/plain
)

// ESTEncoding is how an answer is written.
type ESTEncoding uint8

// The encodings.
const (
	ESTOneLine    ESTEncoding = iota // base64 without line breaks
	ESTLines                         // base64 in lines of 76 that end with CR LF
	ESTPEM                           // PEM, "PKCS7"
	ESTDER                           // no encoding
	ESTIndefinite                    // base64 of BER with indefinite lengths, as Java's libraries write it
)

// busy is the refusal that the temper has planned for request n.
func (t ESTTemper) busy(n int) int {
	switch {
	case n <= t.Pending:
		return 202
	case t.Status != 0 && (t.StatusTimes == 0 || n <= t.StatusTimes):
		return t.Status
	}
	return 0
}
