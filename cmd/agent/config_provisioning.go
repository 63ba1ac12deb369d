package main

import "time"

// provisioningConfig is how the device gets its certificates, and which hub it belongs to.
type provisioningConfig struct {
	// Issuer certifies the first key: dps (by certificate request), est, ezca, hand (a person carries request and chain),
	// or none: the bootstrap certificate is the operational one, or the device shows tokens. Default dps; none where
	// hub.host is set or dps.csr is false.
	Issuer string `yaml:"issuer" oneof:"dps est ezca hand none"`

	DPS struct {
		// Endpoint is the host name of the service. Default: the room's, global.azure-devices-provisioning.net.
		Endpoint string `yaml:"endpoint" like:"global.azure-devices-provisioning.net"`
		// Connect is what to dial instead of Endpoint and the transport's port; the name in the certificate stays Endpoint's.
		Connect string `yaml:"connect" like:"192.0.2.7:8883"`
		// IDScope of the DPS instance; required unless Hub.Host is set.
		IDScope string `yaml:"id_scope" like:"0ne00ABCDEF"`
		// RegistrationID is what the enrollment is for, where it differs from device.id; only for shared keys and TPMs.
		RegistrationID string `yaml:"registration_id" like:"gateway-0042"`
		// APIVersion on the wire. Default: the room's, 2025-07-01-preview.
		APIVersion string `yaml:"api_version" like:"2025-07-01-preview"`
		// Transport is mqtt (port 8883, the default), websocket or https (port 443). TPM attestation needs https.
		Transport string `yaml:"transport" oneof:"mqtt websocket https"`
		// Attestation is what DPS knows the device by: x509 (the bootstrap certificate, the default), tpm (the TPM's
		// endorsement key) or symmetric (a shared key).
		Attestation string `yaml:"attestation" oneof:"x509 tpm symmetric"`
		// SymmetricKey is a file with the device's own key, in base64.
		SymmetricKey string `yaml:"symmetric_key,path" like:"credential:dps-key"`
		// GroupKey is a file with the key of an enrollment group, in base64, from which the device's is derived. Whoever reads
		// it can be every device of the group.
		GroupKey string `yaml:"group_key,path" like:"credential:dps-group-key"`
		// Payload is a JSON object for custom allocation.
		Payload string `yaml:"payload" like:"'{\"site\": \"north\"}'"`
		// CSR asks DPS for an operational certificate for a key in the hardware. Default true.
		CSR bool `yaml:"csr"`
		// Roots is a PEM file with the roots to trust, and no others. Default: those of trust.
		Roots string `yaml:"roots,path" like:"/etc/devid-agent/roots.pem"`
		// Deadline ends one enrollment. Default: the room's, 5m.
		Deadline time.Duration `yaml:"deadline" min:"10s" max:"1h" like:"5m"`
	} `yaml:"dps"`

	EST struct {
		// URL of the server: a path, where there is one, is taken as it is, else it is /.well-known/est.
		URL string `yaml:"url" like:"https://est.example.com"`
		// Label of the CA behind the server. Default: the server's own choice.
		Label string `yaml:"label" like:"gateways"`
		// Roots is a PEM file with the roots of the server's TLS certificate. Default: the system's.
		Roots string `yaml:"roots,path" like:"/etc/devid-agent/est-roots.pem"`
		// Anchors is a PEM file with the authorities that the device's certificate must come from. Default: whatever CA
		// the server answers for.
		Anchors string `yaml:"anchors,path" like:"/etc/devid-agent/est-anchors.pem"`
		// Username for HTTP Basic at the first enrollment. Default: none; then it is the bootstrap certificate.
		Username string `yaml:"username" like:"gateway"`
		// PasswordFile is the file with the password of Username.
		PasswordFile string `yaml:"password_file,path" like:"credential:est-password"`
		// Reenroll is the operation that renews. Default simplereenroll, and simpleenroll where the server has no other.
		Reenroll string `yaml:"reenroll" oneof:"simplereenroll simpleenroll"`
		// LeafOnly shows the device's certificate without its chain.
		LeafOnly bool `yaml:"leaf_only"`
		// WithRoot keeps the root at the end of the chain.
		WithRoot bool `yaml:"with_root"`
		// Deadline ends one enrollment. Default: the room's, 5m.
		Deadline time.Duration `yaml:"deadline" min:"10s" max:"1h" like:"5m"`
	} `yaml:"est"`

	EZCA struct {
		// URL is scheme and host of the portal. Default https://portal.ezca.io.
		URL string `yaml:"url" like:"https://portal.ezca.io"`
		// CA and Template are the GUIDs that the first certificate is asked with.
		CA       string `yaml:"ca" like:"11111111-2222-3333-4444-555555555555"`
		Template string `yaml:"template" like:"11111111-2222-3333-4444-555555555555"`
		// API is the version of the renewal that is asked. Default v3, and v2 where the service does not have it.
		API string `yaml:"api" oneof:"v3 v2 v1"`
		// TokenFile holds a bearer token for one use, the first certificate, and is removed after it.
		TokenFile string `yaml:"token_file,path" like:"/var/lib/devid-agent/ezca.token"`
		// Issuers is a PEM file with the chain above the leaf, for v2 and v1, which answer a leaf alone.
		Issuers string `yaml:"issuers,path" like:"/etc/devid-agent/ezca-issuers.pem"`
		// Validity of certificates in days. Default: that of the one before, and 90 for the first.
		Validity int `yaml:"validity" min:"1" max:"3650" like:"90"`
		// JWTLife is how long the signed renewal request is good for. Default: the room's, 5m.
		JWTLife time.Duration `yaml:"jwt_life" min:"2m" max:"30m" like:"5m"`
		// Roots is a PEM file with the roots to trust, and no others. Default: the system's.
		Roots string `yaml:"roots,path" like:"/etc/devid-agent/roots.pem"`
		// Deadline ends one enrollment. Default: the room's, 2m.
		Deadline time.Duration `yaml:"deadline" min:"10s" max:"1h" like:"5m"`
	} `yaml:"ezca"`
}

// Values of Config.Provisioning.Issuer and Config.Renewal.Issuer.
const (
	issuerDPS  = "dps"
	issuerEST  = "est"
	issuerEZCA = "ezca"
	issuerHand = "hand"
	issuerNone = "none"
	issuerHub  = "hub"
)

// Values of Config.Provisioning.DPS.Attestation and of the transports.
const (
	attestX509      = "x509"
	attestTPM       = "tpm"
	attestSymmetric = "symmetric"

	transportWebSocket = "websocket"
	transportHTTPS     = "https"
	transportAuto      = "auto"
)

// registrationID is what DPS knows the device by.
func (c *Config) registrationID() string {
	if id := c.Provisioning.DPS.RegistrationID; id != "" {
		return id
	}
	return c.Device.ID
}

// settle fills in what follows from the rest. It may be called again.
func (c *Config) settle() {
	p := &c.Provisioning
	if p.DPS.Attestation == "" {
		p.DPS.Attestation = attestX509
	}
	if p.Issuer == "" {
		p.Issuer = issuerDPS
		if c.Hub.Host != "" || !p.DPS.CSR {
			p.Issuer = issuerNone
		}
	}
	if c.Renewal.Issuer == "" {
		c.Renewal.Issuer = c.successor()
	}
}

// successor is who renews where the file does not say it: who issued, and the hub for what DPS issued or, at a fixed
// hub, for what the factory did.
func (c *Config) successor() string {
	switch issuer := c.Provisioning.Issuer; {
	case issuer == issuerDPS, issuer == issuerNone && c.Hub.Host != "" && !c.tokens() && c.Device.Module == "":
		return issuerHub
	case issuer == issuerNone:
		return ""
	default:
		return issuer
	}
}

// tokens reports whether the device shows tokens to the hub, and has no certificate.
func (c *Config) tokens() bool {
	if c.Hub.SymmetricKey != "" {
		return true
	}
	return c.Provisioning.Issuer == issuerNone && c.Hub.Host == "" && c.Provisioning.DPS.Attestation != attestX509
}

// needsBootstrap reports whether there must be a bootstrap certificate.
func (c *Config) needsBootstrap() bool {
	switch c.Provisioning.Issuer {
	case issuerDPS:
		return c.Provisioning.DPS.Attestation == attestX509
	case issuerEST:
		return c.Provisioning.EST.Username == ""
	case issuerNone:
		return !c.tokens()
	}
	return c.Renewal.Issuer == issuerDPS && c.Provisioning.DPS.Attestation == attestX509
}

// placedByDPS reports whether DPS names the hub.
func (c *Config) placedByDPS() bool { return c.Hub.Host == "" }

// name is what certificates are for.
func (c *Config) name() string {
	if c.Device.Module == "" {
		return c.Device.ID
	}
	return c.Device.ID + "/" + c.Device.Module
}
