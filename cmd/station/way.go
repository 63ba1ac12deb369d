package main

import (
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/mtls"
	"github.com/devid-agent/devid-agent/internal/proxy"
	"github.com/devid-agent/devid-agent/internal/web"
	"github.com/devid-agent/devid-agent/station"
)

// way is how the network leads to services: what all of them have in common.
type way struct {
	roots, proxy, proxyPassword string
	timeout                     time.Duration
}

func (w *way) flags(f *flag.FlagSet) {
	f.StringVar(&w.roots, "roots", "", "trust the roots (PEM) in `FILE` in place of the system's")
	f.StringVar(&w.proxy, "proxy", "", "go through the HTTP proxy at `URL`")
	f.StringVar(&w.proxyPassword, "proxy-password", "", "`FILE` with the password for the proxy")
	f.DurationVar(&w.timeout, "timeout", time.Minute, "of one request to a service")
}

// client is the way to one service. host names the flag that says where it is; connect is dialled in its place.
func (w *way) client(host, connect string) (station.Client, error) {
	roots, err := w.pool()
	if err != nil {
		return station.Client{}, err
	}
	dial, err := w.dial()
	if err != nil {
		return station.Client{}, err
	}
	return station.Client{Web: web.Config{Roots: roots, Connect: connect, Dial: dial, Timeout: w.timeout,
		Settings: mtls.Settings{Host: host, Roots: "the file of --roots"}, UserAgent: programName + "/" + version(), NoRedirects: true}}, nil
}

func (w *way) pool() (*x509.CertPool, error) {
	if w.roots == "" {
		return nil, nil
	}
	b, err := os.ReadFile(w.roots)
	if err != nil {
		return nil, fault.AskOperator(err, "name a file of roots: --roots")
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fault.AskOperator(fmt.Errorf("%s has no certificate in it", w.roots), "put roots there as PEM")
	}
	return pool, nil
}

func (w *way) dial() (proxy.Dial, error) {
	if w.proxy == "" {
		return nil, nil
	}
	u, err := url.Parse(w.proxy)
	if err == nil {
		err = proxy.Check(u)
	}
	if err != nil {
		return nil, fault.AskOperator(fmt.Errorf("--proxy: %w", err), "write it as http://HOST:PORT")
	}
	var password func() (string, error)
	if w.proxyPassword != "" {
		password = func() (string, error) {
			b, err := os.ReadFile(w.proxyPassword)
			return strings.TrimRight(string(b), "\r\n"), err
		}
	}
	return proxy.Dialer(u, password, nil), nil
}

// place is where a key lives.
type place struct{ station.Place }

func (p *place) flags(f *flag.FlagSet) {
	f.StringVar(&p.TPM, "tpm", "", "the key is in the TPM at `TCTI`, as device:/dev/tpmrm0")
	f.StringVar(&p.PKCS11, "pkcs11", "", "the key is in the token that `URI` names (RFC 7512)")
	f.StringVar(&p.PIN, "pin", "", "`FILE` with the PIN of the token, where the URI has no pin-source")
	f.StringVar(&p.OwnerAuth, "owner-auth", "", "`FILE` with the password of the TPM's owner hierarchy")
	f.StringVar(&p.Helper, "helper", "", "`PATH` of devid-pkcs11; beside this program or in PATH where not given")
	f.Var((*list)(&p.Environment), "env", "`NAME=VALUE` for the token's library; repeatable")
}

// entra is how to get a token of Microsoft Entra ID.
type entra struct {
	station.Entra
	tokenFile, certificate, key, algorithm string
	managed                                bool
	place                                  place
}

func (e *entra) flags(f *flag.FlagSet) {
	f.StringVar(&e.tokenFile, "token-file", "", "use the bearer token in `FILE`, that somebody else keeps fresh")
	f.BoolVar(&e.managed, "managed-identity", false, "use the managed identity of this machine; --client names one of several")
	f.StringVar(&e.certificate, "certificate", "", "use the application's certificate in `FILE`, with --tenant and --client")
	f.StringVar(&e.key, "key", "", "`KEY` of that certificate: a PEM file, handle:0x81… or a pkcs11: URI with object=; the file of the certificate where not given")
	f.StringVar(&e.algorithm, "entra-alg", "PS256", "PS256, or RS256 for hardware that pads RSA-PSS in another way")
	f.StringVar(&e.Tenant, "tenant", "", "`ID` of the Entra tenant")
	f.StringVar(&e.Client, "client", "", "`ID` of the Entra application")
	f.StringVar(&e.Authority, "authority", station.AuthorityURL, "`URL` of Entra; https://login.microsoftonline.us for the US government")
	f.StringVar(&e.Connect, "authority-connect", "", "`HOST:PORT` to dial in place of Entra's")
	f.StringVar(&e.Scope, "scope", station.ScopeARM, "`SCOPE` of the token")
	e.place.flags(f)
}

// token is how the flags say that we show Entra who we are; the environment where they say nothing. The second result
// ends what the key needs, and is never nil.
func (e *entra) token(ctx context.Context, w way) (station.Token, func() error, error) {
	nothing := func() error { return nil }
	var err error
	if e.Roots, err = w.pool(); err != nil {
		return nil, nothing, err
	}
	if e.Dial, err = w.dial(); err != nil {
		return nil, nothing, err
	}
	switch {
	case e.tokenFile != "" && (e.managed || e.certificate != "") || e.managed && e.certificate != "":
		return nil, nothing, fault.AskOperator(errors.New("several ways to show Entra who we are"), "give one of --token-file, --managed-identity and --certificate, or none for the environment")
	case e.tokenFile != "":
		return station.TokenFile(e.tokenFile), nothing, nil
	case e.managed:
		t, err := e.Managed()
		return t, nothing, err
	case e.certificate != "":
		return e.withCertificate(ctx)
	}
	t, err := e.FromEnvironment()
	return t, nothing, err
}

func (e *entra) withCertificate(ctx context.Context) (station.Token, func() error, error) {
	nothing := func() error { return nil }
	b, err := os.ReadFile(e.certificate)
	if err != nil {
		return nil, nothing, fault.AskOperator(err, "name the certificate of the application: --certificate")
	}
	chain, err := identity.ParseChain(b)
	if err != nil {
		return nil, nothing, fault.AskOperator(fmt.Errorf("%s: %w", e.certificate, err), "put the certificate there as PEM")
	}
	if e.key == "" {
		e.key = e.certificate
	}
	dir, err := scratch()
	if err != nil {
		return nil, nothing, err
	}
	key, end, err := e.place.LoadKey(ctx, e.key, dir)
	if err != nil {
		return nil, nothing, errors.Join(err, os.RemoveAll(dir))
	}
	closing := func() error { return errors.Join(end(), os.RemoveAll(dir)) }
	t, err := e.WithAssertion(station.Assertion{Certificate: chain[0], Key: key, Algorithm: e.algorithm})
	if err != nil {
		return nil, nothing, errors.Join(err, closing())
	}
	return t, closing, nil
}

// scratch is where a key store that makes no keys has its files.
func scratch() (string, error) { return os.MkdirTemp("", "devid-station") }
