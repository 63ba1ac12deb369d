package station

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/hsm"
	"github.com/devid-agent/devid-agent/internal/durable"
	"github.com/devid-agent/devid-agent/keys"
)

// tss2 is the type of a PEM block whose private key only a TPM can use.
const tss2 = "TSS2 PRIVATE KEY"

const keySuffix = ".key.pem"

// Files keeps keys in files of mode 0600, which is what an authority without hardware has. It satisfies keys.Store.
type Files struct {
	dir       *durable.Dir
	algorithm keys.Algorithm
	mu        sync.Mutex
}

// OpenFiles opens the directory of the keys, and makes it where there is none.
func OpenFiles(dir string, a keys.Algorithm) (*Files, error) {
	d, err := durable.Open(dir, nil)
	if err != nil {
		return nil, fmt.Errorf("open keys: %w", err)
	}
	return &Files{dir: d, algorithm: a}, nil
}

// Create implements keys.Store.
func (f *Files) Create(ctx context.Context, name string) (crypto.Signer, error) {
	if err := mayTouch(ctx, name); err != nil {
		return nil, fmt.Errorf("create key: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	key, err := f.create(name)
	if err != nil {
		return nil, fmt.Errorf("create key %s: %w", name, err)
	}
	return fileKey{key, f.dir.File(name + keySuffix)}, nil
}

func (f *Files) create(name string) (crypto.Signer, error) {
	if _, err := f.dir.Read(name + keySuffix); err == nil {
		return nil, keys.ErrExists
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	key, err := generate(f.algorithm)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	// A cut here leaves no key, or the whole key.
	return key, f.dir.Write(name+keySuffix, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// Open implements keys.Store.
func (f *Files) Open(ctx context.Context, name string) (crypto.Signer, error) {
	if err := mayTouch(ctx, name); err != nil {
		return nil, fmt.Errorf("open key: %w", err)
	}
	b, err := f.dir.Read(name + keySuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open key %s: %w", name, keys.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("open key %s: %w", name, err)
	}
	block := keyBlock(b)
	if block == nil {
		return nil, fault.AskOperator(fmt.Errorf("no private key in %s", f.dir.File(name+keySuffix)), "put the file back from a backup")
	}
	key, err := parseKey(block)
	if err != nil {
		return nil, fmt.Errorf("open key %s: %w", name, err)
	}
	return fileKey{key, f.dir.File(name + keySuffix)}, nil
}

// Delete implements keys.Store.
func (f *Files) Delete(ctx context.Context, name string) error {
	if err := mayTouch(ctx, name); err != nil {
		return fmt.Errorf("delete key: %w", err)
	}
	return f.dir.Remove(name + keySuffix)
}

// Names implements keys.Store.
func (f *Files) Names(ctx context.Context) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	files, err := f.dir.Names()
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	var names []string
	for _, file := range files {
		if name, ours := strings.CutSuffix(file, keySuffix); ours {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

func mayTouch(ctx context.Context, name string) error {
	if err := keys.CheckName(name); err != nil {
		return fault.As(fault.Permanent, err)
	}
	return ctx.Err()
}

// fileKey is a key for as long as its file is there. It refuses a digest that is not one: crypto/rsa would sign it.
type fileKey struct {
	crypto.Signer
	file string
}

func (k fileKey) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if _, err := os.Stat(k.file); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("sign: %s: %w", k.file, keys.ErrNotFound)
	}
	if h := opts.HashFunc(); h != 0 && len(digest) != h.Size() {
		return nil, fmt.Errorf("sign: digest of %d bytes is not one of %v", len(digest), h)
	}
	return k.Signer.Sign(random, digest, opts)
}

func generate(a keys.Algorithm) (crypto.Signer, error) {
	switch a {
	case keys.ECDSAP256, "":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case keys.ECDSAP384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case keys.RSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case keys.RSA3072:
		return rsa.GenerateKey(rand.Reader, 3072)
	case hsm.RSA4096:
		return rsa.GenerateKey(rand.Reader, 4096)
	}
	return nil, fmt.Errorf("unknown key algorithm %q", a)
}

// keyBlock is the first PEM block that holds a private key, or nil.
func keyBlock(b []byte) *pem.Block {
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return block
		}
	}
	return nil
}

func parseKey(block *pem.Block) (crypto.Signer, error) {
	if strings.HasPrefix(block.Type, "ENCRYPTED") || block.Headers["DEK-Info"] != "" {
		return nil, fault.AskOperator(errors.New("the private key is encrypted"), "decrypt it: openssl pkey -in FILE -out PLAIN, mode 0600")
	}
	for _, parse := range []func([]byte) (any, error){
		x509.ParsePKCS8PrivateKey,
		func(b []byte) (any, error) { return x509.ParseECPrivateKey(b) },
		func(b []byte) (any, error) { return x509.ParsePKCS1PrivateKey(b) },
	} {
		key, err := parse(block.Bytes)
		if signer, ok := key.(crypto.Signer); ok && err == nil {
			return signer, nil
		}
	}
	return nil, fault.AskOperator(fmt.Errorf("a PEM block %s that holds no key we know", block.Type), "put the key there as PKCS #8: openssl pkey -in FILE")
}

// kindOf names the kind of a public key in the words of a policy; what we have no name for is described.
func kindOf(public crypto.PublicKey) string {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		return "ecdsa-" + strings.ToLower(strings.ReplaceAll(k.Curve.Params().Name, "-", ""))
	case *rsa.PublicKey:
		return fmt.Sprintf("rsa-%d", k.N.BitLen())
	}
	return fmt.Sprintf("%T", public)
}
