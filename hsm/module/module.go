//go:build cgo

package module

import (
	"errors"
	"fmt"

	"github.com/ThalesGroup/crypto11"
	"github.com/miekg/pkcs11"

	"github.com/devid-agent/devid-agent/hsm/wire"
)

// Module is one loaded PKCS#11 library, and one token in it. It does one thing at a time.
//
// crypto11 keeps the library, makes keys and signs with them. What it does not tell (flags of the token, the
// attributes of a key, listing) comes from the same library through a session of our own: all sessions of one
// process share the login.
type Module struct {
	path   string
	want   wire.Token
	keeper *crypto11.Context
	lib    *pkcs11.Ctx
	slot   uint
	own    pkcs11.SessionHandle

	loggedIn bool
	signers  map[string]crypto11.PrivateKey
}

// Handle implements wire.Handler.
func (m *Module) Handle(r wire.Request) wire.Answer {
	a, err := m.handle(r)
	if err != nil {
		return wire.Answer{Fault: faultOf(r.Op, err)}
	}
	return a
}

func (m *Module) handle(r wire.Request) (wire.Answer, error) {
	if r.Op == wire.Open {
		return m.open(r)
	}
	if m.keeper == nil {
		return wire.Answer{}, &problem{reason: wire.BadRequest, words: "nothing is open"}
	}
	switch r.Op {
	case wire.Login:
		return wire.Answer{}, m.login(string(r.PIN))
	case wire.Renew:
		return wire.Answer{}, m.renew()
	case wire.Ping:
		return m.ping()
	case wire.List:
		return m.list(r.Key.Label)
	case wire.Find:
		return m.describe(r.Key)
	case wire.Create:
		return m.create(r)
	case wire.Sign:
		return m.sign(r)
	case wire.Delete:
		return wire.Answer{}, m.destroy(r.Key)
	case wire.Inspect:
		return m.inspect(r.Key)
	case wire.Random:
		return m.random(r.Length)
	}
	return wire.Answer{}, &problem{reason: wire.BadRequest, words: fmt.Sprintf("unknown request %.20q", r.Op)}
}

// problem is an error that is not, or not only, a return value of the module.
type problem struct {
	reason wire.Reason
	words  string
}

func (p *problem) Error() string { return p.words }

// faultOf says err in the words of the wire. An error that is neither a problem nor a return value comes from
// crypto11, which could make no sense of what the module answered.
func faultOf(op wire.Op, err error) *wire.Fault {
	if p, ok := errors.AsType[*problem](err); ok {
		return &wire.Fault{Reason: p.reason, Doing: p.words}
	}
	if code, ok := errors.AsType[pkcs11.Error](err); ok {
		doing := string(op)
		if d, ok := errors.AsType[*doingError](err); ok {
			doing = d.what
		}
		return &wire.Fault{Code: uint64(code), Doing: doing}
	}
	return &wire.Fault{Reason: wire.Nonsense, Doing: fmt.Sprintf("%s: %.200s", op, err)}
}

type doingError struct {
	what string
	error
}

func (d *doingError) Unwrap() error { return d.error }

// doing names the function of the module that returned err.
func doing(what string, err error) error {
	if err == nil {
		return nil
	}
	return &doingError{what, err}
}

func (m *Module) ping() (wire.Answer, error) {
	info, err := m.lib.GetTokenInfo(m.slot)
	if err != nil {
		return wire.Answer{}, doing("C_GetTokenInfo", err)
	}
	if err := m.present(); err != nil {
		return wire.Answer{}, err
	}
	found := token(m.slot, info)
	found.Library = m.library()
	return wire.Answer{Token: found}, nil
}

// present says what is wrong with the session. A session that lost its login sees no private key: without this check
// that would look as if there were none.
func (m *Module) present() error {
	info, err := m.lib.GetSessionInfo(m.own)
	if err != nil {
		return doing("C_GetSessionInfo", err)
	}
	if user := info.State == pkcs11.CKS_RW_USER_FUNCTIONS || info.State == pkcs11.CKS_RO_USER_FUNCTIONS; m.loggedIn && !user {
		return doing("C_GetSessionInfo", pkcs11.Error(pkcs11.CKR_USER_NOT_LOGGED_IN))
	}
	return nil
}

func (m *Module) random(n int) (wire.Answer, error) {
	if n < 1 || n > 1024 {
		return wire.Answer{}, &problem{reason: wire.BadRequest, words: "between 1 and 1024 random bytes"}
	}
	b, err := m.lib.GenerateRandom(m.own, n)
	return wire.Answer{Random: b}, doing("C_GenerateRandom", err)
}
