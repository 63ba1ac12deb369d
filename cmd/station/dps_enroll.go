package main

import (
	"context"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/commands"
	"github.com/devid-agent/devid-agent/station"
)

// enrollment are the flags of dps enroll.
type enrollment struct {
	dps
	attest, certificate, caName, ek, key, keyOut string
	device, allocation                           string
	hubs                                         list
	disabled, replace                            bool
	policy                                       csrPolicy
}

// csrPolicy are the flags about requests that devices send with their registration.
type csrPolicy struct{ station.CSRPolicy }

func (p *csrPolicy) flags(f *flag.FlagSet) {
	f.StringVar(&p.CredentialPolicy, "credential-policy", "", "`NAME` of the policy that signs requests of devices (api-version "+station.DPSAPIPreview+")")
	f.StringVar(&p.Namespace, "namespace", "", "`NAME` of the namespace of that policy (api-version "+station.DPSAPINew+")")
	f.StringVar(&p.Authority, "authority-name", "", "`NAME` of the certificate authority in the namespace")
	f.StringVar(&p.Policy, "certificate-policy", "", "`NAME` of the certificate policy in the namespace")
}

func (e *enrollment) flags(f *flag.FlagSet) {
	e.dps.flags(f)
	f.StringVar(&e.attest, "attest", "x509", "how devices show who they are: x509, tpm or symmetric")
	f.StringVar(&e.certificate, "certificate", "", "x509: the device's certificate in `FILE`; for a group the CA's")
	f.StringVar(&e.caName, "ca-name", "", "x509 group: `NAME` under which a verified CA is uploaded")
	f.StringVar(&e.ek, "ek", "", "tpm: the endorsement key in `FILE`, a TPM2B_PUBLIC as it is or in base64")
	f.StringVar(&e.key, "key", "", "symmetric: the key in `FILE` (base64); DPS makes one where not given")
	f.StringVar(&e.keyOut, "key-out", "", "symmetric: write the first key into `FILE` (base64, mode 0600)")
	f.StringVar(&e.device, "device-id", "", "`ID` at the hub; the registration ID where not given")
	f.Var(&e.hubs, "hub-host", "assign to the hub of that `NAME`; repeatable")
	f.StringVar(&e.allocation, "allocation", "", "hashed, geoLatency, static or custom; that of the service where not given")
	f.BoolVar(&e.disabled, "disabled", false, "let nobody in yet")
	f.BoolVar(&e.replace, "replace", false, "replace the enrollment of that ID")
	e.policy.flags(f)
}

func (e *enrollment) run(ctx context.Context, o *commands.Options, out io.Writer) error {
	body, err := e.body(o)
	if err != nil {
		return err
	}
	s, err := e.open(e.policy.CSRPolicy)
	if err != nil {
		return err
	}
	defer s.Close()
	if e.replace {
		there, err := s.Show(ctx, e.kind(), o.Args[0])
		if err != nil {
			return err
		}
		body.ETag = there.ETag
	}
	made, err := s.Enroll(ctx, body)
	if err != nil {
		return err
	}
	if e.keyOut != "" {
		k, err := s.Keys(ctx, e.kind(), o.Args[0])
		if err != nil {
			return err
		}
		if err := write(e.keyOut, []byte(k.Primary+"\n"), nil); err != nil {
			return err
		}
	}
	return showEnrollment(made, o, out)
}

func (e *enrollment) body(o *commands.Options) (station.Enrollment, error) {
	b := station.Enrollment{DeviceID: e.device, Status: "enabled", CSRPolicy: e.policy.CSRPolicy}
	if e.disabled {
		b.Status = "disabled"
	}
	if e.group {
		b.EnrollmentGroupID = o.Args[0]
	} else {
		b.RegistrationID = o.Args[0]
	}
	b.Hubs, b.Allocation = assigned(e.hubs, e.allocation)
	if e.group && e.device != "" {
		return b, fault.AskOperator(errors.New("a group has no device ID: each device keeps its registration ID"), "leave --device-id out")
	}
	attestation, err := e.attestation(o)
	b.Attestation = attestation
	return b, err
}

// assigned is the hubs that may be assigned, and how one is chosen: of one alone there is no choice.
func assigned(hubs []string, allocation string) ([]string, string) {
	if len(hubs) == 1 && allocation == "" {
		allocation = "static"
	}
	return hubs, allocation
}

func (e *enrollment) attestation(o *commands.Options) (station.Attestation, error) {
	switch e.attest {
	case "x509":
		x, err := e.x509(o)
		return station.Attestation{Type: station.AttestX509, X509: x}, err
	case "tpm":
		t, err := e.tpm(o)
		return station.Attestation{Type: station.AttestTPM, TPM: t}, err
	case "symmetric":
		k, err := e.symmetric(o)
		return station.Attestation{Type: station.AttestSymmetric, SymmetricKey: k}, err
	}
	return station.Attestation{}, fault.AskOperator(fmt.Errorf("--attest %s", e.attest), "choose x509, tpm or symmetric")
}

func (e *enrollment) x509(o *commands.Options) (*station.X509Attestation, error) {
	if (e.certificate == "") == (e.caName == "") || e.caName != "" && !e.group {
		return nil, fault.AskOperator(errors.New("x509 needs one certificate"), "give --certificate FILE or, for a group, --ca-name NAME")
	}
	if e.caName != "" {
		return &station.X509Attestation{References: &station.CANames{Primary: e.caName}}, nil
	}
	b, err := readInput(o.In, e.certificate)
	if err != nil {
		return nil, err
	}
	chain, err := identity.ParseChain(b)
	if err != nil {
		return nil, fault.AskOperator(fmt.Errorf("%s: %w", e.certificate, err), "put the certificate there as PEM")
	}
	if chain[0].IsCA != e.group {
		return nil, fault.AskOperator(fmt.Errorf("%s: the certificate of %s", e.certificate, chain[0].Subject),
			"a group is for a CA, an individual enrollment for a device: see --group")
	}
	c := &station.Certificates{Primary: &station.CertificateInfo{Certificate: identity.EncodeChain(chain[:1])}}
	if e.group {
		return &station.X509Attestation{Signing: c}, nil
	}
	return &station.X509Attestation{Client: c}, nil
}

func (e *enrollment) tpm(o *commands.Options) (*station.TPMAttestation, error) {
	if e.ek == "" || e.group {
		return nil, fault.AskOperator(errors.New("tpm needs the endorsement key of one device"), "give --ek FILE, and no --group: tpm2_createek -u FILE")
	}
	b, err := readInput(o.In, e.ek)
	if err != nil {
		return nil, err
	}
	key, err := station.ParseEndorsementKey(b)
	if err != nil {
		return nil, fault.AskOperator(fmt.Errorf("%s: %w", e.ek, err), "put there what tpm2_createek -u FILE writes")
	}
	return &station.TPMAttestation{EndorsementKey: key}, nil
}

// symmetric is nil where DPS is to make the keys.
func (e *enrollment) symmetric(o *commands.Options) (*station.KeyPair, error) {
	if e.key == "" {
		return nil, nil
	}
	b, err := readInput(o.In, e.key)
	if err != nil {
		return nil, err
	}
	text := strings.TrimSpace(string(b))
	if k, err := base64.StdEncoding.DecodeString(text); err != nil || len(k) < 16 || len(k) > 64 {
		return nil, fault.AskOperator(fmt.Errorf("%s: no key of 16 to 64 bytes in base64", e.key), "make one: openssl rand -base64 32")
	}
	return &station.KeyPair{Primary: text, Secondary: text}, nil
}
