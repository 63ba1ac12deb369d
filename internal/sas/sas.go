// Package sas makes shared access signatures: the tokens with which a device without a certificate shows that it has
// a key ("Control access to Azure IoT Hub by using shared access signatures", Microsoft Learn).
package sas

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// MAC is HMAC-SHA256 with a key that it alone knows.
type MAC = func(ctx context.Context, data []byte) ([]byte, error)

// Token is good for resource until expiry, in whole seconds. The resource is {scope}/registrations/{registration ID}
// at DPS and {hub}/devices/{device ID} at a hub, as it is: Token encodes it. The name of the key is "registration" at
// DPS and "" for a device at its hub. A token is a password: it goes into no log. The error is that of mac, as it is.
func Token(ctx context.Context, resource, keyName string, expiry time.Time, mac MAC) (string, error) {
	sr, se := escape(resource), strconv.FormatInt(expiry.Unix(), 10)
	sum, err := mac(ctx, []byte(sr+"\n"+se))
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	token := "SharedAccessSignature sr=" + sr + "&sig=" + escape(base64.StdEncoding.EncodeToString(sum)) + "&se=" + se
	if keyName != "" {
		token += "&skn=" + escape(keyName)
	}
	return token, nil
}

// escape is percent-encoding as Azure's own SDKs have it: a space is no '+'.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// SharedKey is the MAC of a key in memory. The key is as it is, not in base64.
func SharedKey(key []byte) MAC {
	return func(_ context.Context, data []byte) ([]byte, error) { return sum(key, data), nil }
}

// DeriveKey is the key of one device in an enrollment group, for DPS and for the hub. The registration ID is taken
// as it is written ("Symmetric key attestation", Microsoft Learn).
func DeriveKey(groupKey []byte, registrationID string) []byte {
	return sum(groupKey, []byte(registrationID))
}

func sum(key, data []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(data)
	return h.Sum(nil)
}
