package hsm

import (
	"fmt"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/hsm/wire"
)

// rung is how much of the way to the token is built anew.
type rung int

// The ladder, from the cheapest rung to the dearest. Each is taken at most once for each question.
const (
	standing rung = iota // nothing of it helps
	sessions             // all sessions replaced, the login stays
	logins               // logged out and in again
	contexts             // the module finalized and initialized
	helpers              // the process killed and another one started
)

var rungNames = []string{"nothing", "new sessions", "a new login", "a new context", "a new helper"}

func (r rung) String() string { return rungNames[r] }

// meaning of a return value: the lowest rung that may heal it, or who can act on it, and how.
type meaning struct {
	word string
	rung rung
	kind fault.Kind
	hint string
}

const (
	hintPIN     = "put the right PIN into the PIN file: it is tried once, and the refused one never again"
	hintLocked  = "the token has locked its user PIN: unlock it with the security officer's PIN (pkcs11-tool --init-pin --login --login-type so), and put the new one into the PIN file; a token in a TPM unlocks itself after some time, or by tpm2_dictionarylockout --clear-lockout"
	hintAbsent  = "put the token back, or start its driver or daemon (pcscd, tpm2-abrmd, the vendor's); pkcs11-tool --module MODULE --list-slots shows what the module sees"
	hintFull    = "the token has no room: delete keys that nobody uses with pkcs11-tool --delete-object"
	hintSame    = "make one key with the vendor's tool and set keys.policy: same, so that renewals keep it"
	hintOther   = "this token cannot do it: set keys.algorithm to what it has (pkcs11-tool --module MODULE --list-mechanisms)"
	hintKey     = "the key is not one for signing: make it with CKA_SIGN"
	hintModule  = "restart its daemon if it has one (pcscd, tpm2-abrmd), or update the vendor's module; pkcs11-tool --module MODULE --login --test shows whether it works without the agent"
	hintExpired = "the token wants a new PIN: set it with pkcs11-tool --change-pin, and put it into the PIN file"
)

// meanings of the return values that PKCS #11 2.40 and 3.1 define. One that is not here (a vendor's own) may be
// anything, so only a new helper may help.
var meanings = map[uint64]meaning{
	0x001: {"CKR_CANCEL", sessions, 0, ""},
	0x002: {"CKR_HOST_MEMORY", helpers, 0, hintModule},
	0x003: {"CKR_SLOT_ID_INVALID", contexts, 0, hintAbsent},
	0x005: {"CKR_GENERAL_ERROR", contexts, 0, hintAbsent},
	0x006: {"CKR_FUNCTION_FAILED", contexts, 0, hintAbsent},
	0x007: {"CKR_ARGUMENTS_BAD", standing, fault.Permanent, ""},
	0x008: {"CKR_NO_EVENT", standing, fault.Permanent, ""},
	0x009: {"CKR_NEED_TO_CREATE_THREADS", standing, fault.Operator, hintModule},
	0x00A: {"CKR_CANT_LOCK", standing, fault.Operator, hintModule},
	0x010: {"CKR_ATTRIBUTE_READ_ONLY", standing, fault.Operator, hintSame},
	0x011: {"CKR_ATTRIBUTE_SENSITIVE", standing, fault.Permanent, ""},
	0x012: {"CKR_ATTRIBUTE_TYPE_INVALID", standing, fault.Operator, hintOther},
	0x013: {"CKR_ATTRIBUTE_VALUE_INVALID", standing, fault.Operator, hintOther},
	0x01B: {"CKR_ACTION_PROHIBITED", standing, fault.Operator, hintSame},
	0x020: {"CKR_DATA_INVALID", standing, fault.Permanent, ""},
	0x021: {"CKR_DATA_LEN_RANGE", standing, fault.Permanent, ""},
	0x030: {"CKR_DEVICE_ERROR", contexts, 0, hintAbsent},
	0x031: {"CKR_DEVICE_MEMORY", contexts, 0, hintFull},
	0x032: {"CKR_DEVICE_REMOVED", contexts, 0, hintAbsent},
	0x050: {"CKR_FUNCTION_CANCELED", sessions, 0, ""},
	0x051: {"CKR_FUNCTION_NOT_PARALLEL", standing, fault.Permanent, ""},
	0x054: {"CKR_FUNCTION_NOT_SUPPORTED", standing, fault.Operator, hintModule},
	0x060: {"CKR_KEY_HANDLE_INVALID", sessions, 0, hintAbsent},
	0x062: {"CKR_KEY_SIZE_RANGE", standing, fault.Operator, hintOther},
	0x063: {"CKR_KEY_TYPE_INCONSISTENT", standing, fault.Operator, hintOther},
	0x064: {"CKR_KEY_NOT_NEEDED", standing, fault.Permanent, ""},
	0x065: {"CKR_KEY_CHANGED", sessions, 0, ""},
	0x066: {"CKR_KEY_NEEDED", standing, fault.Permanent, ""},
	0x067: {"CKR_KEY_INDIGESTIBLE", standing, fault.Permanent, ""},
	0x068: {"CKR_KEY_FUNCTION_NOT_PERMITTED", standing, fault.Operator, hintKey},
	0x069: {"CKR_KEY_NOT_WRAPPABLE", standing, fault.Permanent, ""},
	0x06A: {"CKR_KEY_UNEXTRACTABLE", standing, fault.Permanent, ""},
	0x070: {"CKR_MECHANISM_INVALID", standing, fault.Operator, hintOther},
	0x071: {"CKR_MECHANISM_PARAM_INVALID", standing, fault.Operator, hintOther},
	0x082: {"CKR_OBJECT_HANDLE_INVALID", sessions, 0, hintAbsent},
	0x090: {"CKR_OPERATION_ACTIVE", sessions, 0, hintModule},
	0x091: {"CKR_OPERATION_NOT_INITIALIZED", sessions, 0, hintModule},
	0x0A0: {"CKR_PIN_INCORRECT", standing, fault.Operator, hintPIN},
	0x0A1: {"CKR_PIN_INVALID", standing, fault.Operator, hintPIN},
	0x0A2: {"CKR_PIN_LEN_RANGE", standing, fault.Operator, hintPIN},
	0x0A3: {"CKR_PIN_EXPIRED", standing, fault.Operator, hintExpired},
	0x0A4: {"CKR_PIN_LOCKED", standing, fault.Operator, hintLocked},
	0x0B0: {"CKR_SESSION_CLOSED", sessions, 0, ""},
	0x0B1: {"CKR_SESSION_COUNT", contexts, 0, hintModule},
	0x0B3: {"CKR_SESSION_HANDLE_INVALID", sessions, 0, ""},
	0x0B4: {"CKR_SESSION_PARALLEL_NOT_SUPPORTED", standing, fault.Permanent, ""},
	0x0B5: {"CKR_SESSION_READ_ONLY", standing, fault.Operator, hintSame},
	0x0B6: {"CKR_SESSION_EXISTS", contexts, 0, ""},
	0x0B7: {"CKR_SESSION_READ_ONLY_EXISTS", contexts, 0, ""},
	0x0B8: {"CKR_SESSION_READ_WRITE_SO_EXISTS", contexts, 0, ""},
	0x0C0: {"CKR_SIGNATURE_INVALID", standing, fault.Permanent, ""},
	0x0C1: {"CKR_SIGNATURE_LEN_RANGE", standing, fault.Permanent, ""},
	0x0D0: {"CKR_TEMPLATE_INCOMPLETE", standing, fault.Operator, hintOther},
	0x0D1: {"CKR_TEMPLATE_INCONSISTENT", standing, fault.Operator, hintOther},
	0x0E0: {"CKR_TOKEN_NOT_PRESENT", contexts, 0, hintAbsent},
	0x0E1: {"CKR_TOKEN_NOT_RECOGNIZED", contexts, 0, hintAbsent},
	0x0E2: {"CKR_TOKEN_WRITE_PROTECTED", standing, fault.Operator, hintSame},
	0x100: {"CKR_USER_ALREADY_LOGGED_IN", logins, 0, ""},
	0x101: {"CKR_USER_NOT_LOGGED_IN", logins, 0, ""},
	0x102: {"CKR_USER_PIN_NOT_INITIALIZED", standing, fault.Operator, "give the token a user PIN: pkcs11-tool --init-pin --login --login-type so"},
	0x103: {"CKR_USER_TYPE_INVALID", standing, fault.Operator, hintModule},
	0x104: {"CKR_USER_ANOTHER_ALREADY_LOGGED_IN", contexts, 0, ""},
	0x105: {"CKR_USER_TOO_MANY_TYPES", contexts, 0, ""},
	0x120: {"CKR_RANDOM_SEED_NOT_SUPPORTED", standing, fault.Permanent, ""},
	0x121: {"CKR_RANDOM_NO_RNG", standing, fault.Permanent, ""},
	0x130: {"CKR_DOMAIN_PARAMS_INVALID", standing, fault.Operator, hintOther},
	0x140: {"CKR_CURVE_NOT_SUPPORTED", standing, fault.Operator, hintOther},
	0x150: {"CKR_BUFFER_TOO_SMALL", helpers, 0, hintModule},
	0x160: {"CKR_SAVED_STATE_INVALID", contexts, 0, ""},
	0x170: {"CKR_INFORMATION_SENSITIVE", standing, fault.Permanent, ""},
	0x180: {"CKR_STATE_UNSAVEABLE", contexts, 0, ""},
	0x190: {"CKR_CRYPTOKI_NOT_INITIALIZED", contexts, 0, hintModule},
	0x191: {"CKR_CRYPTOKI_ALREADY_INITIALIZED", helpers, 0, hintModule},
	0x1A0: {"CKR_MUTEX_BAD", helpers, 0, hintModule},
	0x1A1: {"CKR_MUTEX_NOT_LOCKED", helpers, 0, hintModule},
	0x1B0: {"CKR_NEW_PIN_MODE", standing, fault.Operator, hintExpired},
	0x1B1: {"CKR_NEXT_OTP", standing, fault.Operator, hintModule},
	0x1B8: {"CKR_EXCEEDED_MAX_ITERATIONS", helpers, 0, hintModule},
	0x1B9: {"CKR_FIPS_SELF_TEST_FAILED", helpers, 0, hintModule},
	0x1BA: {"CKR_LIBRARY_LOAD_FAILED", helpers, 0, hintModule},
	0x1BB: {"CKR_PIN_TOO_WEAK", standing, fault.Operator, hintExpired},
	0x1BC: {"CKR_PUBLIC_KEY_INVALID", standing, fault.Permanent, ""},
	0x200: {"CKR_FUNCTION_REJECTED", standing, fault.Operator, hintModule},
	0x201: {"CKR_TOKEN_RESOURCE_EXCEEDED", contexts, 0, hintFull},
	0x202: {"CKR_OPERATION_CANCEL_FAILED", contexts, 0, hintModule},
	0x203: {"CKR_KEY_EXHAUSTED", standing, fault.Operator, hintKey},
}

const (
	functionNotSupported = 0x054
	pinIncorrect         = 0x0A0
	pinInvalid           = 0x0A1
	pinLenRange          = 0x0A2
)

func meaningOf(code uint64) meaning {
	if m, known := meanings[code]; known {
		return m
	}
	return meaning{word: fmt.Sprintf("CKR 0x%X", code), rung: helpers, hint: hintModule}
}

// reasons are what the helper finds out where no return value says it.
var reasons = map[wire.Reason]meaning{
	wire.NoModule:       {"the module cannot be loaded", helpers, 0, "install the vendor's library, or correct module-path in keys.pkcs11"},
	wire.NoToken:        {"the token is not there", contexts, 0, hintAbsent},
	wire.ManyTokens:     {"more than one token fits", standing, fault.Operator, "name one of them by its serial number (serial=) in keys.pkcs11"},
	wire.NoKey:          {"", contexts, fault.Operator, ""}, // see trouble.absent
	wire.ManyKeys:       {"more than one key fits", standing, fault.Operator, "delete all but one with pkcs11-tool --delete-object --type privkey --id ID, or name one by id="},
	wire.TakenKey:       {"", standing, fault.Operator, ""},
	wire.NoPublic:       {"the token does not say the public key", standing, fault.Operator, "write the public key or its certificate to the token under the same CKA_ID: pkcs11-tool --write-object FILE --type pubkey --id ID"},
	wire.ExtractableKey: {"the token made a key that could leave it, so it was destroyed", standing, fault.Operator, "set the token's policy so that keys are made sensitive and not extractable, or use another one"},
	wire.LockedPIN:      {"the token's user PIN is locked", standing, fault.Operator, hintLocked},
	wire.FinalTryPIN:    {"one wrong PIN more locks the token, so none was tried", standing, fault.Operator, "log in once by hand, which sets the counter back: pkcs11-tool --module MODULE --login --list-objects"},
	wire.Nonsense:       {"the module answers what the standard does not allow", helpers, 0, hintModule},
	wire.BadRequest:     {"the helper does not understand", standing, fault.Permanent, ""},
}
