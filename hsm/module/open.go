//go:build cgo

package module

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ThalesGroup/crypto11"
	"github.com/miekg/pkcs11"

	"github.com/devid-agent/devid-agent/hsm/wire"
)

// open loads the library anew and finds the token. Nobody is logged in afterwards.
func (m *Module) open(r wire.Request) (wire.Answer, error) {
	m.Close()
	m.path, m.want = r.Module, r.Token
	if err := load(m.path); err != nil {
		return wire.Answer{}, err
	}
	keeper, err := m.configure()
	if err != nil {
		return wire.Answer{}, m.explain(err)
	}
	m.keeper, m.lib, m.signers = keeper, pkcs11.New(m.path), map[string]crypto11.PrivateKey{}
	found, err := m.occupy()
	if err != nil {
		m.Close()
		return wire.Answer{}, err
	}
	return wire.Answer{Token: found}, nil
}

// configure opens a context without a login, which is ours to do. While one is open, another one on the same library
// only adds sessions.
func (m *Module) configure() (*crypto11.Context, error) {
	// One session for crypto11 to hold, one to work with.
	c := &crypto11.Config{Path: m.path, LoginNotSupported: true, MaxSessions: 2}
	switch { // crypto11 wants exactly one
	case m.want.Serial != "":
		c.TokenSerial = m.want.Serial
	case m.want.Label != "":
		c.TokenLabel = m.want.Label
	case m.want.Slot != nil:
		slot := int(*m.want.Slot)
		c.SlotNumber = &slot
	default:
		return nil, &problem{reason: wire.BadRequest, words: "neither label, serial number nor slot of a token"}
	}
	return crypto11.Configure(c)
}

// occupy makes sure that crypto11's token, which is the first that fits, is the only one.
func (m *Module) occupy() (wire.Token, error) {
	all, err := tokens(m.lib)
	if err != nil {
		return wire.Token{}, err
	}
	found, err := only(all, m.want)
	if err != nil {
		return wire.Token{}, err
	}
	m.slot = *found.Slot
	m.own, err = m.session()
	return found, err
}

func (m *Module) session() (pkcs11.SessionHandle, error) {
	s, err := m.lib.OpenSession(m.slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	return s, doing("C_OpenSession", err)
}

func only(all []wire.Token, want wire.Token) (wire.Token, error) {
	var fit []wire.Token
	for _, t := range all {
		if t.Fits(want) {
			fit = append(fit, t)
		}
	}
	switch len(fit) {
	case 0:
		return wire.Token{}, &problem{reason: wire.NoToken, words: "the module has " + names(all)}
	case 1:
		return fit[0], nil
	}
	return wire.Token{}, &problem{reason: wire.ManyTokens, words: names(fit)}
}

func names(all []wire.Token) string {
	if len(all) == 0 {
		return "no token"
	}
	var words []string
	for _, t := range all {
		words = append(words, fmt.Sprintf("token %q (%s %s, serial %s, slot %d)", t.Label, t.Manufacturer, t.Model, t.Serial, *t.Slot))
	}
	return strings.Join(words, ", ")
}

func tokens(lib *pkcs11.Ctx) ([]wire.Token, error) {
	slots, err := lib.GetSlotList(true)
	if err != nil {
		return nil, doing("C_GetSlotList", err)
	}
	var all []wire.Token
	for _, slot := range slots {
		if info, err := lib.GetTokenInfo(slot); err == nil { // one token may be broken, or on its way out
			all = append(all, token(slot, info))
		}
	}
	return all, nil
}

// library is the module in its own words, or "" where it has none.
func (m *Module) library() string {
	info, err := m.lib.GetInfo()
	if err != nil {
		return ""
	}
	v := info.LibraryVersion
	return strings.Join(strings.Fields(fmt.Sprintf("%s %s %d.%d", clean(info.ManufacturerID), clean(info.LibraryDescription), v.Major, v.Minor)), " ")
}

// clean is a string that its structure pads.
func clean(s string) string { return strings.TrimRight(strings.ToValidUTF8(s, "?"), " \x00") }

func token(slot uint, info pkcs11.TokenInfo) wire.Token {
	return wire.Token{Label: clean(info.Label), Manufacturer: clean(info.ManufacturerID), Model: clean(info.Model),
		Serial: clean(info.SerialNumber), Slot: &slot, Flags: info.Flags}
}

// explain finds out which tokens there are when crypto11 did not find the one.
func (m *Module) explain(err error) error {
	if _, returned := errors.AsType[pkcs11.Error](err); returned {
		return doing("C_Initialize", err)
	}
	if _, known := errors.AsType[*problem](err); known {
		return err
	}
	lib := pkcs11.New(m.path)
	if lib == nil {
		return err
	}
	defer lib.Destroy()
	if lib.Initialize() != nil {
		return err
	}
	defer func() { _ = lib.Finalize() }()
	all, listErr := tokens(lib)
	if listErr != nil {
		return listErr
	}
	if _, noneErr := only(all, m.want); noneErr != nil {
		return noneErr
	}
	return err
}

// login tries the PIN once. The last try before the token locks itself is not ours to spend.
func (m *Module) login(pin string) error {
	if m.loggedIn {
		_ = m.lib.Logout(m.own) // it may have been logged out behind our back
		m.loggedIn = false
		clear(m.signers)
	}
	info, err := m.lib.GetTokenInfo(m.slot)
	if err != nil {
		return doing("C_GetTokenInfo", err)
	}
	switch {
	case info.Flags&wire.PINLocked != 0:
		return &problem{reason: wire.LockedPIN, words: "CKF_USER_PIN_LOCKED"}
	case info.Flags&wire.PINFinalTry != 0:
		return &problem{reason: wire.FinalTryPIN, words: "CKF_USER_PIN_FINAL_TRY"}
	}
	err = m.lib.Login(m.own, pkcs11.CKU_USER, pin)
	if err == nil || errors.Is(err, pkcs11.Error(pkcs11.CKR_USER_ALREADY_LOGGED_IN)) {
		m.loggedIn = true
		return nil
	}
	return doing("C_Login", err)
}

// renew replaces all sessions. The new ones are opened first: with the last session goes the login.
func (m *Module) renew() error {
	clear(m.signers)
	keeper, err := m.configure()
	if err != nil {
		return err
	}
	own, err := m.session()
	if err != nil {
		_ = keeper.Close()
		return err
	}
	_ = m.lib.CloseSession(m.own)
	_ = m.keeper.Close()
	m.keeper, m.own = keeper, own
	return nil
}

// Close lets go of the token and of the library.
func (m *Module) Close() {
	if m.keeper == nil {
		return
	}
	_ = m.lib.CloseSession(m.own)
	_ = m.keeper.Close() // finalizes
	m.lib.Destroy()
	m.keeper, m.lib, m.signers, m.loggedIn = nil, nil, nil, false
}
