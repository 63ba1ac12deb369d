package hsm

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/devid-agent/devid-agent/hsm/wire"
)

// address is what a PKCS #11 URI (RFC 7512) says.
type address struct {
	token  wire.Token
	object string
	id     []byte
	module string // path of the vendor's library
	pin    string // path of the file with the PIN
}

// elsewhere are attributes that RFC 7512 has and that select nothing here.
var elsewhere = []string{"library-manufacturer", "library-description", "library-version", "slot-manufacturer", "slot-description"}

func parseURI(s string) (address, error) {
	rest, found := strings.CutPrefix(s, "pkcs11:")
	if !found {
		return address{}, fmt.Errorf("pkcs11 uri %q: it begins with pkcs11: and names a token (RFC 7512)", s)
	}
	path, query, _ := strings.Cut(rest, "?")
	var a address
	err := each(path, ";", a.path)
	if err == nil {
		err = each(query, "&", a.query)
	}
	if err != nil {
		return address{}, fmt.Errorf("pkcs11 uri: %w", err) // without the URI, which may hold a PIN
	}
	return a, nil
}

// each calls set for the attributes in s, none of which may come twice.
func each(s, separator string, set func(name, value string) error) error {
	var seen []string
	for part := range strings.SplitSeq(s, separator) {
		if part == "" {
			continue
		}
		name, raw, found := strings.Cut(part, "=")
		if !found {
			return fmt.Errorf("attribute %q has no value", name)
		}
		if slices.Contains(seen, name) {
			return fmt.Errorf("attribute %s comes twice", name)
		}
		seen = append(seen, name)
		value, err := url.PathUnescape(raw)
		if err != nil {
			return fmt.Errorf("attribute %s: percent sign without two hex digits", name)
		}
		if err := set(name, value); err != nil {
			return err
		}
	}
	return nil
}

func (a *address) path(name, value string) error {
	switch name {
	case "token":
		a.token.Label = value
	case "manufacturer":
		a.token.Manufacturer = value
	case "model":
		a.token.Model = value
	case "serial":
		a.token.Serial = value
	case "slot-id":
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil {
			return fmt.Errorf("slot-id %q is not a number", value)
		}
		slot := uint(n)
		a.token.Slot = &slot
	case "object":
		a.object = value
	case "id":
		a.id = []byte(value)
	case "type":
		if value != "private" {
			return fmt.Errorf("type=%s: only private keys are used", value)
		}
	default:
		return unknown(name, "token, serial, manufacturer, model, slot-id, object, id, type")
	}
	return nil
}

func (a *address) query(name, value string) error {
	switch name {
	case "module-path":
		if !filepath.IsAbs(value) {
			return fmt.Errorf("module-path %q is not absolute", value)
		}
		a.module = value
	case "pin-source":
		path := strings.TrimPrefix(strings.TrimPrefix(value, "file:"), "//")
		if !filepath.IsAbs(path) {
			return errors.New("pin-source is not file:/PATH: only files are read, no commands")
		}
		a.pin = path
	case "pin-value":
		return errors.New("pin-value: a PIN in the configuration is a PIN in its backups: put it into a file and name that by pin-source=file:/PATH")
	case "module-name":
		return errors.New("module-name: name the library by module-path=/PATH")
	default:
		return unknown(name, "module-path, pin-source")
	}
	return nil
}

// unknown forgives what the RFC or a vendor defines and refuses what is a typing error.
func unknown(name, known string) error {
	if slices.Contains(elsewhere, name) || strings.HasPrefix(name, "x-") {
		return nil
	}
	return fmt.Errorf("unknown attribute %.40q: one of %s", name, known)
}
