package tpm

import (
	"crypto"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/keys"
)

// blob is a key as it lies on disk: its public area, its private area sealed by the parent, and who the parent is.
type blob struct {
	parent  tpm2.TPMHandle
	public  tpm2.TPMTPublic
	private []byte // TPM2B_PRIVATE without its length; nil for a key that only its handle names

	rsaParent bool // the parent is the RSA storage root key, not the ECC one
	locked    bool // the key has a password
	doubtful  bool // nobody says whether it has one

	name      tpm2.TPM2BName   // of public
	key       crypto.PublicKey // as public says it
	algorithm keys.Algorithm
}

// newBlob refuses keys that we could not use.
func newBlob(parent tpm2.TPMHandle, public tpm2.TPMTPublic, private []byte) (blob, error) {
	key, algorithm, err := publicKey(public)
	if err != nil {
		return blob{}, fmt.Errorf("public area: %w", err)
	}
	name, err := tpm2.ObjectName(&public)
	if err != nil {
		return blob{}, fmt.Errorf("public area: %w", err)
	}
	return blob{parent: parent, public: public, private: private, name: *name, key: key, algorithm: algorithm}, nil
}

const pemType = "TSS2 PRIVATE KEY"

var loadableKey = asn1.ObjectIdentifier{2, 23, 133, 10, 1, 3}

// emptyAuth is [0] EXPLICIT BOOLEAN TRUE.
var emptyAuth = []byte{0xA0, 3, asn1.TagBoolean, 1, 0xFF}

// hasAuth is what openssl writes in its place.
var hasAuth = []byte{0xA0, 3, asn1.TagBoolean, 1, 0}

// inRSA is [5] EXPLICIT BOOLEAN TRUE.
var inRSA = []byte{0xA5, 3, asn1.TagBoolean, 1, 0xFF}

// isTrue reads an explicitly tagged BOOLEAN as BER has it: openssl writes TRUE as 1, which is not DER.
func isTrue(v asn1.RawValue) bool {
	n := len(v.FullBytes)
	return n >= 3 && v.FullBytes[n-3] == asn1.TagBoolean && v.FullBytes[n-2] == 1 && v.FullBytes[n-1] != 0
}

// keyFile is TPMKey of "ASN.1 Specification for TPM 2.0 Key Files" (draft-bottomley-tpm2-keys).
type keyFile struct {
	Type        asn1.ObjectIdentifier
	EmptyAuth   asn1.RawValue `asn1:"optional,explicit,tag:0"`
	Policy      asn1.RawValue `asn1:"optional,explicit,tag:1"`
	Secret      asn1.RawValue `asn1:"optional,explicit,tag:2"`
	AuthPolicy  asn1.RawValue `asn1:"optional,explicit,tag:3"`
	Description asn1.RawValue `asn1:"optional,explicit,tag:4"`
	RSAParent   asn1.RawValue `asn1:"optional,explicit,tag:5"`
	Parent      int64
	Public      []byte // TPM2B_PUBLIC
	Private     []byte // TPM2B_PRIVATE
}

func (b blob) pem() []byte {
	auth := emptyAuth
	if b.locked {
		auth = hasAuth
	}
	var rsaParent asn1.RawValue
	if b.rsaParent {
		rsaParent.FullBytes = inRSA
	}
	der, err := asn1.Marshal(keyFile{Type: loadableKey, EmptyAuth: asn1.RawValue{FullBytes: auth}, Parent: int64(b.parent), RSAParent: rsaParent,
		Public:  sized(tpm2.Marshal(b.public)),
		Private: sized(b.private)})
	if err != nil {
		panic(err) // nothing in a blob can be unfit for ASN.1
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der})
}

func parseBlob(b []byte) (blob, error) {
	f, err := parseKeyFile(b)
	if err != nil {
		return blob{}, err
	}
	return f.blob()
}

func parseKeyFile(b []byte) (keyFile, error) {
	block, _ := pem.Decode(b)
	if block == nil || block.Type != pemType {
		return keyFile{}, fmt.Errorf("not a PEM file of type %s", pemType)
	}
	var f keyFile
	if rest, err := asn1.Unmarshal(block.Bytes, &f); err != nil || len(rest) != 0 {
		return keyFile{}, fmt.Errorf("%s: not the ASN.1 of a TPM 2.0 key file: %w", pemType, errors.Join(err, trailing(rest)))
	}
	if err := f.usable(); err != nil {
		return keyFile{}, fmt.Errorf("%s: %w", pemType, err)
	}
	return f, nil
}

func (f keyFile) usable() error {
	switch {
	case !f.Type.Equal(loadableKey):
		return fmt.Errorf("type %v is not a loadable key (%v)", f.Type, loadableKey)
	case len(f.Policy.FullBytes)+len(f.AuthPolicy.FullBytes) > 0:
		return errors.New("the key has a policy, which is not supported")
	case len(f.Secret.FullBytes) > 0:
		return errors.New("the key is to be imported first: load it with tpm2-tools and keep the result")
	case f.Parent != int64(tpm2.TPMRHOwner) && f.Parent>>24 != persistent:
		return fmt.Errorf("parent %#x is neither the owner hierarchy (0x40000001) nor a persistent handle (0x81xxxxxx)", f.Parent)
	}
	return nil
}

// persistent is the first byte of the handle of an object that the TPM itself keeps.
const persistent = 0x81

func (f keyFile) blob() (blob, error) {
	public, err := parsePublic(content(f.Public))
	if err != nil {
		return blob{}, fmt.Errorf("public area: %w", err)
	}
	b, err := newBlob(tpm2.TPMHandle(f.Parent), public, content(f.Private))
	b.rsaParent, b.locked = isTrue(f.RSAParent), !isTrue(f.EmptyAuth)
	return b, err
}

// content is what is in a TPM2B, empty where it is cut off.
func content(tpm2b []byte) []byte {
	a := answer{rest: tpm2b}
	b := a.sized()
	if a.short {
		return nil
	}
	return b
}

// parsePublic reads a TPMT_PUBLIC.
func parsePublic(b []byte) (tpm2.TPMTPublic, error) {
	public, err := tpm2.Unmarshal[tpm2.TPMTPublic](b)
	if err != nil {
		return tpm2.TPMTPublic{}, err
	}
	return *public, nil
}

func trailing(rest []byte) error {
	if len(rest) == 0 {
		return nil
	}
	return fmt.Errorf("%d bytes after its end", len(rest))
}
