// Package proxy stands in for golang.org/x/net/proxy in the agent that is shipped. The MQTT client links it for
// connections that it opens itself, through a SOCKS proxy named in the environment; the agent hands it open ones
// (internal/mqtt), so that none of this is ever called. Whatever is called returns an error.
package proxy

import (
	"errors"
	"net"
)

// Dialer is the door of the original.
type Dialer interface {
	Dial(network, address string) (net.Conn, error)
}

// FromEnvironment returns a Dialer that connects to nothing.
func FromEnvironment() Dialer { return absent{} }

// FromEnvironmentUsing returns a Dialer that connects to nothing, not by forward either.
func FromEnvironmentUsing(forward Dialer) Dialer { return absent{} }

type absent struct{}

func (absent) Dial(string, string) (net.Conn, error) {
	return nil, errors.New("proxy: not in this build")
}
