package sim_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/devid-agent/devid-agent/sim"
)

// TestMicrosoftsOwnClientGetsTokens asks with azidentity v1.15.0, which this project did not write.
func TestMicrosoftsOwnClientGetsTokens(t *testing.T) {
	c := outside(t)
	app, key := program(t, c)
	begin := c.Entra()
	options := azcore.ClientOptions{
		Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: "https://" + c.EntraAddr() + "/"},
		Transport: reach(t, c),
	}
	secret, err := azidentity.NewClientSecretCredential(begin.Tenant, begin.App.ClientID, begin.App.Secret,
		&azidentity.ClientSecretCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := azidentity.NewClientCertificateCredential(begin.Tenant, app.ClientID, app.Certificates, key,
		&azidentity.ClientCertificateCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	assertion, err := azidentity.NewClientAssertionCredential(begin.Tenant, app.ClientID, func(context.Context) (string, error) {
		return sign(t, key, "PS256", headOf(app), claimsOf(app, "https://"+c.EntraAddr()+"/"+begin.Tenant+"/oauth2/v2.0/token")), nil
	}, &azidentity.ClientAssertionCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	managed, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ClientOptions: options})
	if err != nil {
		t.Fatal(err)
	}
	for name, credential := range map[string]azcore.TokenCredential{"secret": secret, "certificate": certificate, "assertion": assertion, "managed identity": managed} {
		token, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{management}})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if left := time.Until(token.ExpiresOn); left < 50*time.Minute || left > time.Hour {
			t.Errorf("%s: the token lives %v", name, left)
		}
		if status, body := ezcaGet(t, c, "/api/CA/GetAvailableSSLCAs", token.Token); status != 200 {
			t.Errorf("%s: EZCA says %d %s", name, status, body)
		}
	}
	wrong, err := azidentity.NewClientSecretCredential(begin.Tenant, begin.App.ClientID, "wrong",
		&azidentity.ClientSecretCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	_, err = wrong.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{management}})
	if _, ok := errors.AsType[*azidentity.AuthenticationFailedError](err); !ok || !strings.Contains(err.Error(), "AADSTS7000215") {
		t.Errorf("a wrong secret: %v", err)
	}
}

// outside is a cloud that listens, for clients that insist on a network.
func outside(t *testing.T) *sim.Cloud {
	t.Helper()
	c, err := sim.Start(t.Context(), sim.Temper{}, func(p *sim.Policy) { p.ECDSAServer = true })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
