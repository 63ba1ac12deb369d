package station

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/devid-agent/devid-agent/fault"
)

// Token returns a bearer token that is good now. It may be called side by side.
type Token func(ctx context.Context) (string, error)

// Entra is how to get tokens of Microsoft Entra ID.
type Entra struct {
	Tenant    string
	Client    string // ID of the application, or of a managed identity where a machine has several
	Authority string // AuthorityURL when empty; https://login.microsoftonline.us for the US government
	Scope     string // ScopeARM when empty: EZCA takes the token of any Azure interface
	Roots     *x509.CertPool
	Connect   string // host:port to dial in place of the authority's
	// Dial opens the transport under TLS; TCP when nil. The environment is not asked for a proxy.
	Dial  func(ctx context.Context, network, address string) (net.Conn, error)
	Tries int // of one token; 4 when zero
}

// Where tokens come from, and what for, in the public cloud.
const (
	AuthorityURL = "https://login.microsoftonline.com"
	ScopeARM     = "https://management.core.windows.net/.default"
)

func (e Entra) filled() Entra {
	if e.Authority == "" {
		e.Authority = AuthorityURL
	}
	e.Authority = strings.TrimRight(e.Authority, "/")
	if e.Scope == "" {
		e.Scope = ScopeARM
	}
	return e
}

// Endpoint is the audience of an Assertion.
func (e Entra) Endpoint() string { return e.filled().Authority + "/" + e.Tenant + "/oauth2/v2.0/token" }

// custom reports whether the authority is none of Microsoft's, which azidentity would not know.
func (e Entra) custom() bool {
	return e.Authority != AuthorityURL && e.Authority != "https://login.microsoftonline.us" && e.Authority != "https://login.chinacloudapi.cn"
}

func (e Entra) options() azcore.ClientOptions {
	o := azcore.ClientOptions{Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: e.Authority}}
	if e.Tries > 0 {
		o.Retry = policy.RetryOptions{MaxRetries: int32(e.Tries - 1)}
		if e.Tries == 1 {
			o.Retry.MaxRetries = -1 // 0 is the default of azcore, three
		}
	}
	o.Transport = &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: e.Roots, MinVersion: tls.VersionTLS12},
		DialContext:     e.dial,
	}}
	return o
}

func (e Entra) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if e.Connect != "" {
		address = e.Connect
	}
	if e.Dial != nil {
		return e.Dial(ctx, network, address)
	}
	return (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, network, address)
}

// WithAssertion gets tokens with the certificate of an application, whose key may be in hardware. Client and Audience of
// a are filled in.
func (e Entra) WithAssertion(a Assertion) (Token, error) {
	e = e.filled()
	a.Client, a.Audience = e.Client, e.Endpoint()
	if err := e.check(); err != nil {
		return nil, err
	}
	if err := a.Check(); err != nil {
		return nil, err
	}
	var unsigned atomic.Pointer[error] // azidentity keeps the words of our error, and not the remedy
	c, err := azidentity.NewClientAssertionCredential(e.Tenant, e.Client, func(ctx context.Context) (string, error) {
		text, err := a.Make(ctx)
		if err != nil {
			unsigned.Store(&err)
		}
		return text, err
	}, &azidentity.ClientAssertionCredentialOptions{ClientOptions: e.options(), DisableInstanceDiscovery: e.custom()})
	token, err := e.token(c, err)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (string, error) {
		text, err := token(ctx)
		if cause := unsigned.Swap(nil); err != nil && cause != nil {
			return "", *cause
		}
		return text, err
	}, nil
}

func (e Entra) check() error {
	if e.Tenant == "" || e.Client == "" {
		return fault.AskOperator(errors.New("entra: tenant and application are missing"), "give --tenant and --client")
	}
	if u, err := url.Parse(e.Authority); err != nil || u.Scheme != "https" || u.Host == "" {
		return fault.AskOperator(fmt.Errorf("entra: %q is no https URL", e.Authority), "write --authority as "+AuthorityURL)
	}
	return nil
}

// FromEnvironment gets tokens with what AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET or
// AZURE_CLIENT_CERTIFICATE_PATH name.
func (e Entra) FromEnvironment() (Token, error) {
	e = e.filled()
	c, err := azidentity.NewEnvironmentCredential(
		&azidentity.EnvironmentCredentialOptions{ClientOptions: e.options(), DisableInstanceDiscovery: e.custom()})
	return e.token(c, err)
}

// Managed gets tokens of the managed identity of the machine, in Azure or with Azure Arc. No proxy leads there.
func (e Entra) Managed() (Token, error) {
	e = e.filled()
	o := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Retry: e.options().Retry}}
	if e.Connect != "" {
		o.Transport = &http.Client{Timeout: time.Minute, Transport: &http.Transport{DialContext: Entra{Connect: e.Connect}.dial}}
	}
	if e.Client != "" {
		o.ID = azidentity.ClientID(e.Client)
	}
	c, err := azidentity.NewManagedIdentityCredential(o)
	return e.token(c, err)
}

// token hides azidentity: it keeps a token until shortly before its end.
func (e Entra) token(c azcore.TokenCredential, err error) (Token, error) {
	if err != nil {
		return nil, fault.AskOperator(fmt.Errorf("entra: %w", err), "see docs/station.md for the ways to show Entra who you are")
	}
	return func(ctx context.Context) (string, error) {
		t, err := c.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{e.Scope}})
		if err != nil {
			return "", entraFailed(err)
		}
		return t.Token, nil
	}, nil
}

// aadsts is how Entra begins what it says ("Microsoft Entra authentication & authorization error codes").
var aadsts = regexp.MustCompile(`AADSTS(\d+): [^"\\\n]*`)

// remedies for what Entra says most often.
var remedies = map[string]string{
	"700027":  "register the certificate with the application, and wait five minutes after that; if it is, try --entra-alg",
	"700016":  "check --client and --tenant: the application is not in this tenant",
	"90002":   "check --tenant: there is no such tenant",
	"7000215": "the secret of the application is wrong: use a newer one",
	"700024":  "check the clock of this machine",
	"700023":  "check --authority and --tenant: they are in what we sign",
}

// entraFailed is what Entra said in one line: azidentity tells the whole HTTP answer.
func entraFailed(err error) error {
	if fault.Stopped(err) {
		return err
	}
	if said := aadsts.FindStringSubmatch(err.Error()); said != nil {
		hint := remedies[said[1]]
		if hint == "" {
			hint = "look the code up: https://login.microsoftonline.com/error?code=" + said[1]
		}
		return fault.AskOperator(fmt.Errorf("entra: %s", printable(said[0])), hint)
	}
	var refusal *azidentity.AuthenticationFailedError
	if errors.As(err, &refusal) && refusal.RawResponse != nil && refusal.RawResponse.StatusCode < 500 {
		return fault.AskOperator(fmt.Errorf("entra: %s", printable(err.Error())), "check tenant, application and credential")
	}
	return fmt.Errorf("entra: %s", printable(err.Error()))
}

// TokenFile returns the token in a file, read anew each time: somebody else keeps it fresh, as by
// az account get-access-token.
func TokenFile(path string) Token {
	return func(context.Context) (string, error) {
		b, err := os.ReadFile(path)
		if err != nil {
			return "", fault.AskOperator(err, "put a token there: az account get-access-token --resource https://management.core.windows.net/ --query accessToken -o tsv")
		}
		token := strings.TrimSpace(string(b))
		if token == "" || strings.ContainsAny(token, " \r\n\t") {
			return "", fault.AskOperator(fmt.Errorf("%s has no bearer token in it", path), "put the token there, and nothing else")
		}
		return token, nil
	}
}
