// Package wire is the language that devid-agent and its helper devid-pkcs11 speak over an inherited socket.
//
// A frame is four bytes of length, big-endian, and that many bytes: JSON or, for a signature, the fields of packed.go.
// The helper says Hello; from then on the agent asks and the helper answers, one question at a time.
package wire

// Version is of the language. Both programs come from one release, so there is no negotiating.
const Version = 2

// Limit is how long a frame may be. The longest there is lists the keys of a token.
const Limit = 256 << 10

// Socket is the descriptor that the helper inherits.
const Socket = 3

// Hello is the first frame, which the helper sends.
type Hello struct {
	Version int    `json:"version"`
	Program string `json:"program"`
}

// Op is what the helper is asked to do.
type Op string

// What the helper does.
const (
	Open    Op = "open"    // load Module, or load it anew, and find the token; the answer has Token
	Login   Op = "login"   // log out if logged in, look at the token's flags, and try PIN once
	Renew   Op = "renew"   // replace all sessions; the login stays
	Ping    Op = "ping"    // ask the token whether it is there; the answer has Token
	List    Op = "list"    // the private keys whose label begins with Key.Label
	Find    Op = "find"    // the private key that Key says, its public half included
	Create  Op = "create"  // make a key as Key says, or find the one that an earlier try made
	Sign    Op = "sign"    // sign Digest with Key
	Delete  Op = "delete"  // destroy both halves of Key
	Inspect Op = "inspect" // read Key's attributes, and ask the token to give it away
	Random  Op = "random"  // Length random bytes
)

// Request is one question.
type Request struct {
	ID     uint64 `json:"id"`
	Op     Op     `json:"op"`
	Module string `json:"module,omitempty"` // path of the vendor's library
	Token  Token  `json:"token,omitzero"`   // which token: empty fields fit any
	PIN    []byte `json:"pin,omitempty"`
	Key    Key    `json:"key,omitzero"`
	Kind   string `json:"kind,omitempty"` // of the key to make: p256, p384, rsa
	Bits   int    `json:"bits,omitempty"` // of the RSA key to make
	Hash   uint   `json:"hash,omitempty"` // a crypto.Hash
	PSS    bool   `json:"pss,omitempty"`
	Digest []byte `json:"digest,omitempty"`
	Length int    `json:"length,omitempty"`
}

// Token is a token as C_GetTokenInfo describes it.
type Token struct {
	Label        string `json:"label,omitempty"`
	Manufacturer string `json:"manufacturer,omitempty"`
	Model        string `json:"model,omitempty"`
	Serial       string `json:"serial,omitempty"`
	Slot         *uint  `json:"slot,omitempty"`
	Flags        uint   `json:"flags,omitempty"`
	Library      string `json:"library,omitempty"` // the vendor's, as C_GetInfo describes it
}

// The flags of a token that matter (PKCS #11 2.40, CK_TOKEN_INFO).
const (
	WriteProtected = 0x00000002 // CKF_WRITE_PROTECTED
	LoginRequired  = 0x00000004 // CKF_LOGIN_REQUIRED
	ProtectedPath  = 0x00000100 // CKF_PROTECTED_AUTHENTICATION_PATH
	PINCountLow    = 0x00010000 // CKF_USER_PIN_COUNT_LOW
	PINFinalTry    = 0x00020000 // CKF_USER_PIN_FINAL_TRY
	PINLocked      = 0x00040000 // CKF_USER_PIN_LOCKED
)

// Fits reports whether the token is one that want describes.
func (t Token) Fits(want Token) bool {
	fits := func(want, is string) bool { return want == "" || want == is }
	return fits(want.Label, t.Label) && fits(want.Manufacturer, t.Manufacturer) && fits(want.Model, t.Model) &&
		fits(want.Serial, t.Serial) && (want.Slot == nil || t.Slot != nil && *want.Slot == *t.Slot)
}

// Key is a private key on the token. In a request, an empty field fits any.
type Key struct {
	Label      string   `json:"label,omitempty"`
	ID         []byte   `json:"id,omitempty"`
	Public     []byte   `json:"public,omitempty"`     // SubjectPublicKeyInfo
	Attributes []string `json:"attributes,omitempty"` // the boolean ones that are true, as CKA_ words
}

// Answer is to the request of the same ID.
type Answer struct {
	ID        uint64 `json:"id"`
	Fault     *Fault `json:"fault,omitempty"` // nil when done
	Token     Token  `json:"token,omitzero"`
	Keys      []Key  `json:"keys,omitempty"`
	Signature []byte `json:"signature,omitempty"`
	Random    []byte `json:"random,omitempty"`
	Export    string `json:"export,omitempty"` // what the token said when asked for the private key
	Exported  bool   `json:"exported,omitempty"`
}

// Reason is what stood in the way where it is not, or not only, a return value of the module.
type Reason string

// What may stand in the way.
const (
	Returned       Reason = ""                // the module returned Code
	NoModule       Reason = "no-module"       // the library cannot be loaded
	NoToken        Reason = "no-token"        // none of the tokens is the one
	ManyTokens     Reason = "many-tokens"     // more than one token is
	NoKey          Reason = "no-key"          // none of the keys is the one
	ManyKeys       Reason = "many-keys"       // more than one key is
	TakenKey       Reason = "taken-key"       // the label belongs to another key
	NoPublic       Reason = "no-public"       // the public half is not on the token, or not readable
	ExtractableKey Reason = "extractable-key" // the token made a key that can leave it; it was destroyed
	LockedPIN      Reason = "locked-pin"
	FinalTryPIN    Reason = "final-try-pin" // one wrong PIN more locks the token: none was tried
	Nonsense       Reason = "nonsense"      // the module answered what the standard does not allow
	BadRequest     Reason = "bad-request"
)

// Fault is why the helper did not do what it was asked to.
type Fault struct {
	Reason Reason `json:"reason,omitempty"`
	Code   uint64 `json:"code,omitempty"` // a CK_RV
	Doing  string `json:"doing"`          // what the helper was doing
}
