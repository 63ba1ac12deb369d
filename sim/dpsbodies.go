package sim

import (
	"crypto/sha1"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"strings"
	"time"
)

// The bodies of "Communicate with DPS using MQTT", and of the DPS device API.
type (
	operationBody struct {
		OperationID       string     `json:"operationId"`
		Status            string     `json:"status"`
		RegistrationState *stateBody `json:"registrationState,omitempty"`
	}
	stateBody struct {
		X509                    *x509Body       `json:"x509,omitempty"`
		TPM                     *tpmResultBody  `json:"tpm,omitempty"`
		SymmetricKey            *x509Body       `json:"symmetricKey,omitempty"`
		RegistrationID          string          `json:"registrationId"`
		CreatedDateTimeUTC      string          `json:"createdDateTimeUtc,omitempty"`
		AssignedHub             string          `json:"assignedHub,omitempty"`
		DeviceID                string          `json:"deviceId,omitempty"`
		Status                  string          `json:"status"`
		Substatus               string          `json:"substatus,omitempty"`
		ErrorCode               int             `json:"errorCode,omitempty"`
		ErrorMessage            string          `json:"errorMessage,omitempty"`
		LastUpdatedDateTimeUTC  string          `json:"lastUpdatedDateTimeUtc,omitempty"`
		Etag                    string          `json:"etag,omitempty"`
		Payload                 json.RawMessage `json:"payload,omitempty"`
		ConnectionProfile       string          `json:"connectionProfile,omitempty"`
		IssuedCertificateChain  json.RawMessage `json:"issuedCertificateChain,omitempty"`
		IssuedClientCertificate string          `json:"issuedClientCertificate,omitempty"`
		TrustBundle             *bundleBody     `json:"trustBundle,omitempty"`
	}
	x509Body struct {
		EnrollmentGroupID string    `json:"enrollmentGroupId,omitempty"`
		CertificateInfo   *infoX509 `json:"certificateInfo,omitempty"`
	}
	tpmResultBody struct {
		AuthenticationKey []byte `json:"authenticationKey"`
	}
	challengeBody struct {
		Message           string `json:"message"`
		AuthenticationKey []byte `json:"authenticationKey"`
		KeyName           string `json:"keyName"`
	}
	bundleBody struct {
		Certificates     []bundleCertificate `json:"certificates"`
		ID               string              `json:"id"`
		CreatedDateTime  string              `json:"createdDateTime"`
		LastModifiedTime string              `json:"lastModifiedDateTime"`
		Etag             string              `json:"etag"`
	}
	bundleCertificate struct {
		Certificate string   `json:"certificate"`
		Metadata    infoX509 `json:"metadata"`
	}
	infoX509 struct {
		SubjectName      string `json:"subjectName"`
		SHA1Thumbprint   string `json:"sha1Thumbprint"`
		SHA256Thumbprint string `json:"sha256Thumbprint"`
		IssuerName       string `json:"issuerName"`
		NotBeforeUTC     string `json:"notBeforeUtc"`
		NotAfterUTC      string `json:"notAfterUtc"`
		SerialNumber     string `json:"serialNumber"`
		Version          int    `json:"version"`
	}
	dpsError struct {
		ErrorCode    int    `json:"errorCode"`
		TrackingID   string `json:"trackingId"`
		Message      string `json:"message"`
		TimestampUTC string `json:"timestampUtc"`
	}
)

func refuse(code int, message string) result {
	return (&Refusal{Code: code, Message: message}).result()
}

func (r *Refusal) result() result {
	body := dpsError{r.Code, newGUID(), r.Message, stamp7(time.Now())}
	return result{status: r.Code / 1000, code: r.Code, wait: r.RetryAfter, body: marshal(body)}
}

func newInfo(x *x509.Certificate) *infoX509 {
	return &infoX509{
		SubjectName:      x.Subject.String(),
		SHA1Thumbprint:   strings.ToUpper(thumbprint1(x)),
		SHA256Thumbprint: strings.ToUpper(thumbprint(x)),
		IssuerName:       x.Issuer.String(),
		NotBeforeUTC:     x.NotBefore.UTC().Format(time.RFC3339),
		NotAfterUTC:      x.NotAfter.UTC().Format(time.RFC3339),
		SerialNumber:     strings.ToUpper(x.SerialNumber.Text(16)),
		Version:          x.Version,
	}
}

func thumbprint1(x *x509.Certificate) string {
	sum := sha1.Sum(x.Raw)
	return hex.EncodeToString(sum[:])
}

func newEtag() string { return `"` + newGUID() + `"` }

func encodePEM(all ...*x509.Certificate) string {
	var b strings.Builder
	for _, x := range all {
		pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: x.Raw})
	}
	return b.String()
}
