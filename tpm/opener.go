package tpm

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"errors"
	"slices"

	"github.com/google/go-tpm/tpm2"
)

// opener is what opens one object for one command: the empty password, said aloud (TPM_RS_PW); a password that is
// proven and not said, by an HMAC; or a policy session that was satisfied. The latter two are sessions of the TPM,
// which ends them with the command they were used for.
type opener struct {
	session    tpm2.TPMHandle
	hash       crypto.Hash
	key        []byte // of the HMAC: the session's own and the password (part 1, 19.6.5); empty where nothing is to be proven
	attributes byte   // TPMA_SESSION
	here       []byte // our nonce of the command under way
	there      []byte // the TPM's last nonce
}

// decrypting is the attribute of a session by which the TPM decrypts a command's first parameter (part 2, 8.4).
const decrypting = 1 << 5

const nonceSize = 16

// begin starts a session with the TPM. Its own key comes from salt, which travelled to the key at saltKey.
func (t *session) begin(kind tpm2.TPMSE, hash tpm2.TPMIAlgHash, saltKey tpm2.TPMHandle, sealed, salt, symmetric []byte) (*opener, error) {
	h, err := hash.Hash()
	if err != nil {
		return nil, err
	}
	o := &opener{hash: h, here: make([]byte, nonceSize)}
	rand.Read(o.here)
	a, err := t.run(tpm2.TPMCCStartAuthSession, []object{bare(saltKey), bare(tpm2.TPMRHNull)},
		sized(o.here), sized(sealed), []byte{byte(kind)}, symmetric, u16(hash))
	if err != nil {
		return nil, label("start a session", err)
	}
	o.session, o.there = a.handle, a.sized()
	if len(salt) > 0 {
		o.key = tpm2.KDFa(h, salt, "ATH", o.there, o.here, h.Size()*8)
	}
	return o, a.whole()
}

// spoken proves to know the password without saying it on the bus to the chip.
func (t *session) spoken(password []byte) (*opener, error) {
	o, err := t.begin(tpm2.TPMSEHMAC, tpm2.TPMAlgSHA256, tpm2.TPMRHNull, nil, nil, u16(tpm2.TPMAlgNull))
	if err != nil {
		return nil, err
	}
	o.key = bytes.TrimRight(password, "\x00") // part 1, 19.6.5
	return o, nil
}

// whisper is a session in which a command's first parameter travels encrypted to the parent. It stands beside an
// empty password only: beside an HMAC that one would have to cover this nonce too (part 1, 19.6.5).
func (t *session) whisper(parent object) (*opener, error) {
	public, _, err := t.readPublic(parent.handle)
	if err != nil {
		return nil, label("read the parent", err)
	}
	to, err := tpm2.ImportEncapsulationKey(&public)
	if err != nil {
		return nil, err
	}
	salt, sealed, err := tpm2.CreateEncryptedSalt(rand.Reader, to)
	if err != nil {
		return nil, err
	}
	o, err := t.begin(tpm2.TPMSEHMAC, tpm2.TPMAlgSHA256, parent.handle, sealed, salt, aesCFB(128))
	if err != nil {
		return nil, err
	}
	o.attributes = decrypting
	return o, nil
}

// aesCFB is the TPMT_SYM_DEF of AES in the one mode that TPMs encrypt parameters and keys with.
func aesCFB(bits int) []byte {
	return slices.Concat(u16(tpm2.TPMAlgAES), u16(bits), u16(tpm2.TPMAlgCFB))
}

// byPolicy is a policy session that nothing has satisfied yet.
func (t *session) byPolicy(hash tpm2.TPMIAlgHash) (*opener, error) {
	return t.begin(tpm2.TPMSEPolicy, hash, tpm2.TPMRHNull, nil, nil, u16(tpm2.TPMAlgNull))
}

// renew takes a new nonce for the next command.
func (o *opener) renew() {
	if o.session != tpm2.TPMRSPW {
		o.here = make([]byte, nonceSize)
		rand.Read(o.here)
	}
}

// encrypt encrypts the content of a command's first parameter in place (part 1, 21.3).
func (o *opener) encrypt(b []byte) error {
	secret := tpm2.KDFa(o.hash, o.key, "CFB", o.here, o.there, 128+8*aes.BlockSize)
	block, err := aes.NewCipher(secret[:16])
	if err != nil {
		return err
	}
	//lint:ignore SA1019 it is what TPMs speak, and the HMAC of the same session authenticates it
	cipher.NewCFBEncrypter(block, secret[16:]).XORKeyStream(b, b)
	return nil
}

// authorization is the opener's TPMS_AUTH_COMMAND for a command of that code, Names and parameters.
func (o *opener) authorization(command []byte) []byte {
	if o.session == tpm2.TPMRSPW {
		return slices.Concat(u32(o.session), sized(nil), []byte{0}, sized(nil))
	}
	return slices.Concat(u32(o.session), sized(o.here), []byte{o.attributes}, sized(o.mac(command, o.here, o.there, o.attributes)))
}

// mac is over the hash of a command or answer, the nonce of who sends it, that of who receives it, and the
// attributes (part 1, 19.6.5).
func (o *opener) mac(message, newer, older []byte, attributes byte) []byte {
	h := o.hash.New()
	h.Write(message)
	m := hmac.New(o.hash.New, o.key)
	m.Write(h.Sum(nil))
	m.Write(newer)
	m.Write(older)
	m.Write([]byte{attributes})
	return m.Sum(nil)
}

// verify says why the answer is not one of who knows the key, or nil. An opener without a key proves nothing.
func (o *opener) verify(message, nonce, attributes, mac []byte) error {
	if len(o.key) > 0 && !hmac.Equal(mac, o.mac(message, nonce, o.here, attributes[0])) {
		return errors.New("the answer was not authenticated by the TPM: something on the way to it has changed it")
	}
	return nil
}
