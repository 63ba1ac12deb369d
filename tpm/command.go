package tpm

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/google/go-tpm/tpm2"
)

// command is one command as it is put together. It is one type for all of them, and what it carries is bytes: go-tpm
// has a type for each command, and its Execute is compiled for each type anew, which costs the binary 19 KB apiece.
type command struct {
	code       tpm2.TPMCC
	on         []object
	parameters [][]byte
	whisper    *opener // encrypts the first parameter, which is a sized one; nil leaves it as it is
}

// object is what a command is about.
type object struct {
	handle tpm2.TPMHandle
	name   tpm2.TPM2BName
	by     *opener // what opens it; nil where the command needs no authorization for it
}

// password is h, opened by the empty password.
func password(h tpm2.TPMHandle, name tpm2.TPM2BName) object {
	return object{handle: h, name: name, by: &opener{session: tpm2.TPMRSPW}}
}

// hierarchy is a hierarchy, opened by the empty password.
func hierarchy(h tpm2.TPMHandle) object { return password(h, tpm2.HandleName(h)) }

// bare is h for a command that needs neither authorization nor Name.
func bare(h tpm2.TPMHandle) object { return object{handle: h, name: tpm2.HandleName(h)} }

// shut is o for a command that only points at it.
func (o object) shut() object { return object{handle: o.handle, name: o.name} }

// send sends the command and returns what the TPM answered. A response code is an error of type tpm2.TPMRC. After
// another error, there may be an answer that tells nothing but the handle of what the command has made.
func (c command) send(w wire) (*answer, error) {
	b, err := c.bytes()
	if err != nil {
		return nil, err
	}
	raw, err := w(b)
	if err != nil {
		return nil, err
	}
	if len(raw) < header {
		return nil, errors.New("the TPM's answer ends in its header")
	}
	if code := codeOf(raw); code != tpm2.TPMRCSuccess {
		return nil, code
	}
	return c.read(raw)
}

// bytes is the command as it goes over the line: header, handles, authorizations, parameters (part 1, 18).
func (c command) bytes() ([]byte, error) {
	openers := c.openers()
	for _, o := range openers {
		o.renew()
	}
	parameters := slices.Concat(c.parameters...)
	if c.whisper != nil {
		if err := c.whisper.encrypt(parameters[2:len(c.parameters[0])]); err != nil {
			return nil, err
		}
	}
	tag, area := tpm2.TPMSTNoSessions, []byte(nil)
	if len(openers) > 0 {
		tag = tpm2.TPMSTSessions
		for _, o := range openers {
			area = append(area, o.authorization(c.names(parameters))...)
		}
		area = append(u32(len(area)), area...)
	}
	var handles []byte
	for _, o := range c.on {
		handles = append(handles, u32(o.handle)...)
	}
	size := header + len(handles) + len(area) + len(parameters)
	return slices.Concat(u16(tag), u32(size), u32(c.code), handles, area, parameters), nil
}

func (c command) openers() []*opener {
	var all []*opener
	for _, o := range c.on {
		if o.by != nil {
			all = append(all, o.by)
		}
	}
	if c.whisper != nil {
		all = append(all, c.whisper)
	}
	return all
}

// names is what cpHash is made of (part 1, 16.7).
func (c command) names(parameters []byte) []byte {
	all := u32(c.code)
	for _, o := range c.on {
		all = append(all, o.name.Buffer...)
	}
	return append(all, parameters...)
}

// makesHandle reports that the answer to the command begins with a handle.
func (c command) makesHandle() bool {
	switch c.code {
	case tpm2.TPMCCCreatePrimary, tpm2.TPMCCLoad, tpm2.TPMCCLoadExternal, tpm2.TPMCCContextLoad, tpm2.TPMCCStartAuthSession,
		tpm2.TPMCCHMACStart:
		return true
	}
	return false
}

// read takes the answer apart, and checks that it comes from who knows the password where one was proven.
func (c command) read(raw []byte) (*answer, error) {
	a := &answer{rest: raw[header:]}
	if c.makesHandle() {
		a.handle = tpm2.TPMHandle(a.uint32())
	}
	openers := c.openers()
	if len(openers) == 0 {
		return a, a.whole()
	}
	parameters := a.take(int(a.uint32()))
	for _, o := range openers {
		nonce, attributes, mac := a.sized(), a.take(1), a.sized()
		if err := a.whole(); err != nil {
			return a, err
		}
		if err := o.verify(slices.Concat(u32(tpm2.TPMRCSuccess), u32(c.code), parameters), nonce, attributes, mac); err != nil {
			return a, err
		}
	}
	a.rest = parameters
	return a, a.whole()
}

// answer is the parameters of an answer, read from their beginning. Who reads on after their end gets zeros, and
// whole then says so.
type answer struct {
	handle tpm2.TPMHandle // where the command makes one
	rest   []byte
	short  bool
}

func (a *answer) take(n int) []byte {
	if n > len(a.rest) || n < 0 {
		a.short, a.rest = true, nil
		return make([]byte, min(max(n, 0), largest))
	}
	b := a.rest[:n:n]
	a.rest = a.rest[n:]
	return b
}

func (a *answer) uint16() uint16 { return binary.BigEndian.Uint16(a.take(2)) }
func (a *answer) uint32() uint32 { return binary.BigEndian.Uint32(a.take(4)) }

// sized is the content of a TPM2B.
func (a *answer) sized() []byte { return a.take(int(a.uint16())) }

func (a *answer) name() tpm2.TPM2BName { return tpm2.TPM2BName{Buffer: a.sized()} }

// public is the content of a TPM2B_PUBLIC.
func (a *answer) public() (tpm2.TPMTPublic, error) { return parsePublic(a.sized()) }

func (a *answer) whole() error {
	if a.short {
		return errors.New("the TPM's answer ends too early")
	}
	return nil
}

func u16[T ~uint16 | ~int](v T) []byte {
	return binary.BigEndian.AppendUint16(nil, uint16(v))
}

func u32[T ~uint32 | ~int](v T) []byte {
	return binary.BigEndian.AppendUint32(nil, uint32(v))
}

// sized is b as a TPM2B.
func sized(b []byte) []byte { return append(u16(len(b)), b...) }
