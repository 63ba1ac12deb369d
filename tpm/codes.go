package tpm

import (
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/keys"
)

// remedy is who can act on a response code, and how.
type remedy struct {
	kind fault.Kind
	hint string
}

const (
	hintLockout = "the TPM is locked after too many wrong passwords or power cuts: wait for its lockout to end, or run tpm2_dictionarylockout --clear-lockout; keys and parents made with noDA do not suffer from it"
	hintAuth    = "the TPM knows another password: put the right one into keys.owner_auth or keys.key_auth, or take it off with tpm2_changeauth"
	hintSpace   = "the TPM has no room for one more persistent object: list them with tpm2_getcap handles-persistent, remove one that nobody needs with tpm2_evictcontrol -C o -c HANDLE, or leave keys.persistent out: keys then lie in files and need no room"
	hintPolicy  = "the device runs what no signed policy approves: install the policy signature that comes with this operating system, or boot the one before"
	hintFailure = "the TPM is in failure mode: power-cycle the device; if it comes back so, replace it"
	hintScheme  = "the key allows one signature scheme only: make it with the scheme null"
	hintStart   = "nobody has started the TPM: run tpm2_startup --clear, or start swtpm with --flags startup-clear"
)

// remedies by response code, without the number of the handle or parameter at fault (TPM 2.0 Library, part 2,
// 6.6). A code that is not here is Permanent: the TPM has understood, and will say the same again.
var remedies = map[tpm2.TPMRC]remedy{
	tpm2.TPMRCRetry:         {kind: fault.Transient},
	tpm2.TPMRCYielded:       {kind: fault.Transient},
	tpm2.TPMRCTesting:       {kind: fault.Transient},
	tpm2.TPMRCNeedsTest:     {kind: fault.Transient},
	tpm2.TPMRCNVRate:        {kind: fault.Transient},
	tpm2.TPMRCNVUnavailable: {kind: fault.Transient},
	tpm2.TPMRCCanceled:      {kind: fault.Transient},

	// Somebody else's objects fill the TPM.
	tpm2.TPMRCObjectMemory:    {kind: fault.Transient},
	tpm2.TPMRCSessionMemory:   {kind: fault.Transient},
	tpm2.TPMRCMemory:          {kind: fault.Transient},
	tpm2.TPMRCObjectHandles:   {kind: fault.Transient},
	tpm2.TPMRCSessionHandles:  {kind: fault.Transient},
	tpm2.TPMRCTooManyContexts: {kind: fault.Transient},

	// What we loaded a moment ago is gone: the TPM was restarted, or somebody flushed it.
	tpm2.TPMRCReferenceH0: {kind: fault.Transient},
	tpm2.TPMRCReferenceH1: {kind: fault.Transient},

	// Another program changed a PCR between our policy and its use.
	tpm2.TPMRCPCRChanged: {kind: fault.Transient},

	tpm2.TPMRCNVSpace:         {fault.Operator, hintSpace},
	tpm2.TPMRCPolicyFail:      {fault.Operator, hintPolicy},
	tpm2.TPMRCLockout:         {fault.Operator, hintLockout},
	tpm2.TPMRCAuthFail:        {fault.Operator, hintAuth},
	tpm2.TPMRCBadAuth:         {fault.Operator, hintAuth},
	tpm2.TPMRCAuthMissing:     {fault.Operator, hintAuth},
	tpm2.TPMRCAuthUnavailable: {fault.Operator, hintAuth},
	tpm2.TPMRCFailure:         {fault.Operator, hintFailure},
	tpm2.TPMRCReboot:          {fault.Operator, hintFailure},
	tpm2.TPMRCUpgrade:         {fault.Operator, "the TPM is in the middle of a firmware update: let it finish, then power-cycle the device"},
	tpm2.TPMRCInitialize:      {fault.Operator, hintStart},
	tpm2.TPMRCScheme:          {fault.Operator, hintScheme},
	tpm2.TPMRCDisabled:        {fault.Operator, "enable the TPM's owner hierarchy in the firmware settings of the device"},
	tpm2.TPMRCHierarchy:       {fault.Operator, "enable the TPM's owner hierarchy in the firmware settings of the device"},
}

// label says what we were doing, who can act on what the TPM answered, and how. A nil err stays nil; an error
// that is not the TPM's keeps the label that the link gave it.
func label(doing string, err error) error {
	if err == nil {
		return nil
	}
	wrapped := fmt.Errorf("%s: %w", doing, err)
	code, ok := errors.AsType[tpm2.TPMRC](err)
	if !ok {
		return wrapped
	}
	r, known := remedies[canonical(code)]
	switch {
	case fault.Hint(err) != "":
		return wrapped // who was nearer knew better
	case !known:
		return fault.As(fault.Permanent, wrapped)
	case r.hint != "":
		return fault.AskOperator(wrapped, r.hint)
	}
	return fault.As(r.kind, wrapped)
}

// labelUnable labels the answer to a template: some codes mean that the TPM does not have the algorithm.
func labelUnable(a keys.Algorithm, doing string, err error) error {
	if !oneOf(err, tpm2.TPMRCValue, tpm2.TPMRCCurve, tpm2.TPMRCKeySize, tpm2.TPMRCAsymmetric, tpm2.TPMRCType,
		tpm2.TPMRCRange, tpm2.TPMRCHash, tpm2.TPMRCSize) {
		return label(doing, err)
	}
	hint := "set keys.algorithm: ecdsa-p256"
	if a == keys.ECDSAP256 {
		hint = "this TPM has no ECDSA P-256: set keys.algorithm: rsa-2048"
	}
	return fault.AskOperator(fmt.Errorf("this TPM cannot make keys of %s: %w", a, err), hint)
}

// isStale reports that the TPM does not take a context: it was restarted, cleared or replaced since.
func isStale(err error) bool {
	return oneOf(err, tpm2.TPMRCIntegrity, tpm2.TPMRCHandle, tpm2.TPMRCValue, tpm2.TPMRCHierarchy, tpm2.TPMRCSize,
		tpm2.TPMRCBadContext, tpm2.TPMRCContextGap, tpm2.TPMRCInsufficient, tpm2.TPMRCReferenceH0)
}

// isBusy reports that the command was not begun and is to be sent again.
func isBusy(c tpm2.TPMRC) bool {
	switch c {
	case tpm2.TPMRCRetry, tpm2.TPMRCYielded, tpm2.TPMRCTesting, tpm2.TPMRCNVRate:
		return true
	}
	return false
}

// isFull reports that the TPM has no room for one more object.
func isFull(c tpm2.TPMRC) bool {
	switch c {
	case tpm2.TPMRCObjectMemory, tpm2.TPMRCSessionMemory, tpm2.TPMRCMemory, tpm2.TPMRCObjectHandles, tpm2.TPMRCSessionHandles:
		return true
	}
	return false
}

func oneOf(err error, codes ...tpm2.TPMRC) bool {
	code, ok := errors.AsType[tpm2.TPMRC](err)
	if !ok {
		return false
	}
	for _, c := range codes {
		if canonical(code) == c {
			return true
		}
	}
	return false
}

// canonical is a format-one code without the number of the handle, parameter or session at fault.
func canonical(c tpm2.TPMRC) tpm2.TPMRC {
	const formatOne, number = 0x080, 0x03F
	if c&formatOne != 0 {
		return c & (formatOne | number)
	}
	return c
}
