package sim

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"time"
)

const caLife = 30 * 365 * 24 * time.Hour

type signer struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// hierarchy is a root and its issuing CA: with P-384 keys, as Azure Device Registry has them, unless Policy.ECDSAServer.
type hierarchy struct{ root, issuing signer }

type pki struct {
	operational hierarchy // signs what DPS and hub issue
	factory     hierarchy // signs bootstrap certificates
	serverRoot  *x509.Certificate
	serverCA    signer // the same, with its key
	server      tls.Certificate
}

// certificate is one that was issued to a device.
type certificate struct {
	request *x509.CertificateRequest
	leaf    *x509.Certificate
	dead    bool
}

func newPKI(ecdsaServer bool) (*pki, error) {
	p := &pki{}
	newKey := newP384
	if ecdsaServer {
		newKey = newP256
	}
	var err error
	if p.operational, err = newHierarchyOf("Sim Device Registry", newKey); err != nil {
		return nil, err
	}
	if p.factory, err = newHierarchyOf("Sim Factory", newKey); err != nil {
		return nil, err
	}
	return p, p.newServer(ecdsaServer)
}

func newHierarchy(name string) (hierarchy, error) { return newHierarchyOf(name, newP384) }

// newHierarchyOf makes the keys of both by newKey.
func newHierarchyOf(name string, newKey func() (crypto.Signer, error)) (hierarchy, error) {
	rootKey, err := newKey()
	if err != nil {
		return hierarchy{}, err
	}
	root, err := newCAOf(name+" Root CA", nil, rootKey)
	if err != nil {
		return hierarchy{}, err
	}
	issuingKey, err := newKey()
	if err != nil {
		return hierarchy{}, err
	}
	issuing, err := newCAOf(name+" Issuing CA", &root, issuingKey)
	return hierarchy{root, issuing}, err
}

func newP256() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

func newP384() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) }

func newRSA() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) }

func newCA(name string, parent *signer) (signer, error) {
	key, err := newP384()
	if err != nil {
		return signer{}, err
	}
	return newCAOf(name, parent, key)
}

func newCAOf(name string, parent *signer, key crypto.Signer) (signer, error) {
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          newSerial(newUnique()),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-24 * time.Hour),
		NotAfter:              now.Add(caLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	self := signer{template, key}
	if parent == nil {
		parent = &self
	}
	cert, err := sign(template, *parent, key.Public())
	return signer{cert, key}, err
}

func sign(template *x509.Certificate, by signer, public crypto.PublicKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, public, by.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate of %s: %w", template.Subject.CommonName, err)
	}
	return x509.ParseCertificate(der)
}

// newServer makes the certificate of both servers: an RSA leaf, as Azure has ("TLS support in Azure IoT Hub").
func (p *pki) newServer(useECDSA bool) error {
	newRootKey, newKey := newP384, newRSA
	if useECDSA {
		newRootKey, newKey = newP256, newP256
	}
	rootKey, err := newRootKey()
	if err != nil {
		return err
	}
	root, err := newCAOf("Sim Server Root CA", nil, rootKey)
	if err != nil {
		return err
	}
	key, err := newKey()
	if err != nil {
		return err
	}
	leaf, err := sign(serverTemplate(root.cert), root, key.Public())
	if err != nil {
		return err
	}
	p.serverRoot, p.serverCA = root.cert, root
	p.server = tls.Certificate{Certificate: [][]byte{leaf.Raw, root.cert.Raw}, PrivateKey: key, Leaf: leaf}
	return nil
}

func serverTemplate(root *x509.Certificate) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: newSerial(newUnique()),
		Subject:      pkix.Name{CommonName: HubHost},
		NotBefore:    root.NotBefore,
		NotAfter:     root.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     []string{DPSHost, HubHost, ESTHost, EZCAHost, EntraHost, DPSServiceHost, ManagementHost, BlobHost, "localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
}

// certify makes a client certificate and returns it with its chain: exactly leaf, issuing CA, root.
func (h hierarchy) certify(cn string, public crypto.PublicKey, serial *big.Int, life, backdate time.Duration) ([]*x509.Certificate, error) {
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: cn},
		NotBefore:             now.Add(-min(backdate, life/10)),
		NotAfter:              now.Add(life),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	leaf, err := sign(template, h.issuing, public)
	if err != nil {
		return nil, err
	}
	return []*x509.Certificate{leaf, h.issuing.cert, h.root.cert}, nil
}

// Bootstrap certifies the public key of a device by the cloud's own factory, whose root is enrolled at the DPS
// as a group. The chain is leaf, issuing CA, root.
func (c *Cloud) Bootstrap(device string, public crypto.PublicKey, life time.Duration) ([]*x509.Certificate, error) {
	c.mu.Lock()
	backdate := c.policy.Backdate
	c.mu.Unlock()
	return c.pki.factory.certify(device, public, newSerial(newUnique()), life, backdate)
}

// keptCertificates is how many of a device's certificates stay on record.
const keptCertificates = 10_000

// issue certifies the request for d and remembers it. The caller holds c.mu.
func (c *Cloud) issue(d *device, request *x509.CertificateRequest) ([]*x509.Certificate, error) {
	chain, err := c.pki.operational.certify(d.id, request.PublicKey, newSerial(d.unique), c.policy.Life, c.policy.Backdate)
	if err != nil {
		return nil, err
	}
	if c.temper.OldCert == OldCertDiesAtIssue {
		bury(c.issued[d.id])
	}
	all := append(c.issued[d.id], &certificate{request: request, leaf: chain[0]})
	c.issued[d.id] = all[max(0, len(all)-keptCertificates):]
	return chain, nil
}

func bury(all []*certificate) {
	for _, i := range all {
		i.dead = true
	}
}

// newUnique draws the identifier of a device that its certificates carry. Azure compares one too ("Certificate
// revocation"), where it sits in the certificate is not documented: here it is the upper half of the serial number.
func newUnique() uint64 {
	var b [8]byte
	rand.Read(b[:])
	b[0] = b[0]&0x3f | 0x40 // positive, and never shorter
	return new(big.Int).SetBytes(b[:]).Uint64()
}

func newSerial(unique uint64) *big.Int {
	var low [8]byte
	rand.Read(low[:])
	serial := new(big.Int).SetUint64(unique)
	return serial.Lsh(serial, 64).Or(serial, new(big.Int).SetBytes(low[:]))
}

func uniqueOf(leaf *x509.Certificate) uint64 {
	return new(big.Int).Rsh(leaf.SerialNumber, 64).Uint64()
}
