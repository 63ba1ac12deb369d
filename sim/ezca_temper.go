package sim

import "time"

// EZCATemper is how EZCA misbehaves. The zero value is a good one that is strict where Keytos' documentation is silent.
// Numbers count requests for a certificate per device, from 1.
type EZCATemper struct {
	Only string // the device that meets all this; "" is every one

	Status      int           // the first StatusTimes requests are answered with it
	StatusTimes int           // 0 is every one
	InfoStatus  int           // requests that ask for no certificate are answered with it
	RetryAfter  time.Duration // with 429 and 503; 0 leaves the header out
	RetryDate   bool          // Retry-After is a date
	Silent      int           // the first n requests are never answered
	LostResult  int           // the first n certificates are issued, and the connection ends instead of the answer
	Answer      EZCAAnswer    // what is wrong with the certificate or with how it travels
	AnswerTimes int           // with the first n answers; 0 is every one
	Created     bool          // success is 201

	Leeway         time.Duration // by which a token may begin in the future or have ended; .NET's libraries take 5 minutes by default
	ClockOffset    time.Duration // of the server
	TokenLife      time.Duration // 401 for a certificate's token that lives shorter than this; Keytos' clients take 30 minutes
	AllowReplay    bool          // a certificate's token is good more than once; else its jti is remembered
	AllowBase64    bool          // x5t may be base64url, as RFC 7515 has it
	RenewExpired   bool          // a certificate that has expired can be renewed
	RefuseSameKey  bool          // 400 for the renewal of a certificate with the same key
	RSAOnly        bool          // 400 for a request with an EC key
	ClampValidity  bool          // more days than the template has are cut down; else refused
	TooEarly       time.Duration // 400 as long as more than this is left of the old certificate
	Life           time.Duration // of what is issued, whatever days were asked for; 0 is as asked
	NoV3, NoV2     bool          // RenewCertificateV3, V2 are 404
	NoV1           bool          // RenewCertificate is 404
	ExactType      bool          // 415 for "application/json" with a parameter
	OldIssuer      bool          // after a rollover the old issuing CA still signs
	DisableRevoked bool          // a revocation disables the device in IoT Hub, for which EZCA has a switch

	EST ESTTemper // of its EST address
}

// EZCAAnswer is a way in which an answer of EZCA can be wrong.
type EZCAAnswer uint8

// The ways.
const (
	EZCAGood         EZCAAnswer = iota
	EZCAPage                    // a web page, 200
	EZCAError                   // "Error: …" as text, 200
	EZCAFailure                 // {"Success": false, …}, 200
	EZCAWrongKey                // the certificate is for another key
	EZCAWrongSubject            // it is for another device
	EZCAWrongIssuer             // it is from another CA
	EZCAExpired                 // it has expired
	EZCAFuture                  // it begins in an hour
	EZCALostNames               // it lacks the alternative names
	EZCAOldOne                  // it is the one that the device has
	EZCANoRoot                  // RootCertificate is missing
	EZCAEmptyRoot               // RootCertificate is ""
	EZCADouble                  // the JSON object comes as a JSON string
	EZCANoArmour                // certificates are base64 without PEM's lines
	EZCACRLF                    // PEM's lines end with CR LF
	EZCAChain                   // where one certificate belongs comes a chain
	EZCAEmpty                   // 200 and nothing
	EZCARubbish                 // not JSON, not PEM
	EZCATruncated               // the connection ends in the middle of the body
	EZCASlow                    // a byte in two seconds
	EZCAHuge                    // megabytes
)

// busy is the status with which the temper has planned to answer request n, or 0.
func (t EZCATemper) busy(n int) int {
	if t.Status != 0 && (t.StatusTimes == 0 || n <= t.StatusTimes) {
		return t.Status
	}
	return 0
}

// of is the temper that device meets.
func (t EZCATemper) of(device string) EZCATemper {
	if t.Only == "" || t.Only == device {
		return t
	}
	return EZCATemper{Life: t.Life, Leeway: t.Leeway, ClockOffset: t.ClockOffset}
}

// answer is how request n is answered.
func (t EZCATemper) answer(n int) EZCAAnswer {
	if t.AnswerTimes == 0 || n <= t.AnswerTimes {
		return t.Answer
	}
	return EZCAGood
}
