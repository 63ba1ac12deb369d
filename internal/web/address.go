package web

import (
	"errors"
	"fmt"
	"net/url"
)

// Address is text as the URL of a server, or what keeps it from being one: it is https, names a host, and holds neither
// a credential nor a query.
func Address(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, err
	case u.Scheme != "https":
		return nil, fmt.Errorf("url %q is not https", text)
	case u.Host == "" || u.Opaque != "":
		return nil, fmt.Errorf("url %q names no host", text)
	case u.User != nil:
		return nil, errors.New("url holds a user name or a password, which belong into their own settings")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("url %q has more than a path", text)
	}
	return u, nil
}
