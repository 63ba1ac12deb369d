package station_test

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/hsm/hsmtest"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/station"
	"github.com/devid-agent/devid-agent/tpm/tpmtest"
)

// write puts text into a file of its own.
func write(t *testing.T, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSupplyChainLeadsFromTheDeviceToTheRoot(t *testing.T) {
	all := supplyChain(t)
	chain, err := all[3].Sign(request(t, newKey(t), nil), 0, "")
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range chain[1:] {
		if want := 3 - (3 - i); !c.IsCA || c.MaxPathLen != want {
			t.Errorf("%s: authority %v, path length %d, want %d", c.Subject, c.IsCA, c.MaxPathLen, want)
		}
	}
	if leaf := chain[0]; leaf.IsCA || !slices.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) || leaf.KeyUsage != x509.KeyUsageDigitalSignature {
		t.Errorf("the device's certificate: %+v", leaf)
	}
	root := write(t, "root.pem", []byte(identity.EncodeChain(chain[4:])))
	between := write(t, "between.pem", []byte(identity.EncodeChain(chain[1:4])))
	leaf := write(t, "leaf.pem", []byte(identity.EncodeChain(chain[:1])))
	openssl(t, "verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", root, "-untrusted", between, leaf)
}

func TestNobodyMakesMoreOfHimselfThanHeIs(t *testing.T) {
	all := supplyChain(t)
	asks := request(t, newKey(t), named("Test upstart"))
	for i, kind := range []string{station.Root, station.Company, station.Factory, station.Technician} {
		for _, above := range all[i:] {
			if _, err := above.Certify(asks, kind, 0); err == nil {
				t.Errorf("a %s certified a %s", above.Kind(), kind)
			}
		}
	}
}

func TestAuthorityIsCertifiedByOneThatIsElsewhere(t *testing.T) {
	company := supplyChain(t)[1]
	dir := t.TempDir()
	f := station.Founding{Dir: dir, Kind: station.Factory, Name: "Factory-Y"}
	if _, err := station.Found(t.Context(), f); !errors.Is(err, station.ErrUnfinished) {
		t.Fatal(err)
	}
	if _, err := station.OpenAuthority(t.Context(), dir, nil); !errors.Is(err, station.ErrUnfinished) || fault.Hint(err) == "" {
		t.Errorf("before its certificate: %v", err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "request.pem"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := station.ParseRequest(text)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := company.Certify(r, station.Factory, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := station.Install(t.Context(), dir, company.Chain()); err == nil {
		t.Error("a chain for another key was installed")
	}
	a, err := station.Install(t.Context(), dir, chain)
	if err != nil {
		t.Fatal(err)
	}
	if got := a.Certificate().Subject.CommonName; got != "Factory-Y" {
		t.Errorf("it is %q", got)
	}
}

func TestFoundingGoesOnWhereACutLeftIt(t *testing.T) {
	dir := t.TempDir()
	f := station.Founding{Dir: dir, Kind: station.Root, Name: "Company-X"}
	a := found(t, f)
	key := a.Certificate().PublicKey
	if err := os.Remove(filepath.Join(dir, "chain.pem")); err != nil { // the last write of founding
		t.Fatal(err)
	}
	if a = found(t, f); !key.(*ecdsa.PublicKey).Equal(a.Certificate().PublicKey) {
		t.Error("a second key was made")
	}
	if _, err := station.Found(t.Context(), f); err == nil {
		t.Error("an authority was founded over another")
	}
}

func TestFoundingThatIsCutAnywhereMakesOneKeyAndOneAuthority(t *testing.T) {
	for n := 1; ; n++ {
		dir, cut := t.TempDir(), &scissors{n: n}
		f := station.Founding{Dir: dir, Kind: station.Root, Name: "Company-X", Step: cut.step}
		a, err := station.Found(t.Context(), f)
		if err == nil {
			a.Close()
			break
		}
		f.Step = nil
		if again, err := station.Found(t.Context(), f); err == nil {
			again.Close()
		} else if there, open := station.OpenAuthority(t.Context(), dir, nil); open != nil { // the cut came when all was done
			t.Errorf("after the cut at %d: %v, %v", n, err, open)
		} else {
			there.Close()
		}
		if files, err := filepath.Glob(filepath.Join(dir, "keys", "*")); err != nil || len(files) != 1 {
			t.Errorf("after the cut at %d: keys %v, %v", n, files, err)
		}
	}
}

func TestCertificateOutlivesNobodyAbove(t *testing.T) {
	root := found(t, station.Founding{Kind: station.Root, Days: 3})
	chain, err := root.Sign(request(t, newKey(t), nil), 300, "")
	if err != nil {
		t.Fatal(err)
	}
	if chain[0].NotAfter.After(root.Certificate().NotAfter) {
		t.Errorf("until %v, the root until %v", chain[0].NotAfter, root.Certificate().NotAfter)
	}
}

func TestASerialIsSignedOnceHoweverOftenItIsAskedFor(t *testing.T) {
	dir := t.TempDir()
	a := found(t, station.Founding{Dir: dir, Kind: station.Root})
	serial, err := station.NewSerial()
	if err != nil {
		t.Fatal(err)
	}
	r := request(t, newKey(t), nil)
	first, err := a.Sign(r, 30, serial)
	if err != nil {
		t.Fatal(err)
	}
	again, err := station.OpenAuthority(t.Context(), dir, nil) // as after a cut
	if err != nil {
		t.Fatal(err)
	}
	second, err := again.Sign(r, 60, serial)
	if err != nil || !second[0].Equal(first[0]) {
		t.Errorf("two certificates with one serial: %v", err)
	}
	if _, err := again.Sign(request(t, newKey(t), nil), 30, serial); err == nil {
		t.Error("another key got the serial")
	}
	if _, err := again.Sign(r, 30, "../../etc/passwd"); err == nil {
		t.Error("a path was taken for a serial")
	}
}

func TestSerialThatWasOnlyReservedIsSignedByWhoReservedIt(t *testing.T) {
	dir := t.TempDir()
	a := found(t, station.Founding{Dir: dir, Kind: station.Root})
	serial, _ := station.NewSerial()
	r := request(t, newKey(t), nil)
	if _, err := a.Sign(r, 30, serial); err != nil {
		t.Fatal(err)
	}
	forget(t, filepath.Join(dir, "issued", serial+".json"))
	if _, err := a.Sign(request(t, newKey(t), nil), 30, serial); err == nil {
		t.Error("another key got a reserved serial")
	}
	if _, err := a.Sign(r, 30, serial); err != nil {
		t.Error(err)
	}
}

// forget takes the certificate out of the journal, as a cut between the two writes leaves it.
func forget(t *testing.T, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var entry station.Issued
	if err := json.Unmarshal(b, &entry); err != nil {
		t.Fatal(err)
	}
	entry.Certificate, entry.NotAfter = "", time.Time{}
	if b, err = json.Marshal(entry); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestJournalHasEveryCertificateOfManyAtATime(t *testing.T) {
	a := found(t, station.Founding{Kind: station.Root})
	before, _ := a.Issued()
	var running sync.WaitGroup
	for range 20 {
		r := request(t, newKey(t), nil)
		running.Go(func() {
			if _, err := a.Sign(r, 30, ""); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	all, err := a.Issued()
	if err != nil || len(all)-len(before) != 20 {
		t.Errorf("%d entries, %v", len(all)-len(before), err)
	}
	for _, i := range all {
		if c, err := identity.ParseChain([]byte(i.Certificate)); err != nil || c[0].SerialNumber.Text(16) != i.Serial {
			t.Errorf("entry %s: %v", i.Serial, err)
		}
	}
}

func TestStationsBesideEachOtherSignWithOneAuthority(t *testing.T) {
	dir := t.TempDir()
	one := found(t, station.Founding{Dir: dir, Kind: station.Root})
	signing := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() { // each opening sweeps what a power cut may have left
		for open := true; open; {
			if other, err := station.OpenAuthority(t.Context(), dir, nil); err != nil || other.Close() != nil {
				t.Error(err)
			}
			select {
			case <-signing:
				open = false
			default:
			}
		}
	})
	for range 20 {
		if _, err := one.Sign(request(t, newKey(t), nil), 30, ""); err != nil {
			t.Error(err)
		}
	}
	close(signing)
	others.Wait()
}

func TestProofOfPossessionIsWhatAzureVerifies(t *testing.T) {
	root := found(t, station.Founding{Kind: station.Root})
	const code = "A2F6C1B0E4D84C5C9D3E7F1A0B2C4D6E8F0A1B2C3D4E5F60"
	c, err := root.Prove(code)
	if err != nil {
		t.Fatal(err)
	}
	if c.Subject.CommonName != code || c.IsCA {
		t.Errorf("the proof is %v", c.Subject)
	}
	openssl(t, "verify", "-CAfile", write(t, "root.pem", []byte(identity.EncodeChain(root.Chain()))), write(t, "proof.pem", []byte(identity.EncodeChain([]*x509.Certificate{c}))))
}

func TestKeyInATPMSignsLikeAnyOther(t *testing.T) {
	chip := tpmtest.Start(t)
	signsLikeAnyOther(t, station.Place{TPM: chip.TCTI()})
}

func TestKeyInATokenSignsLikeAnyOther(t *testing.T) {
	c := hsmtest.Start(t).Config()
	signsLikeAnyOther(t, station.Place{PKCS11: c.URI, PIN: c.PIN, Helper: c.Helper, Environment: c.Env, Algorithm: "rsa-2048"})
}

func signsLikeAnyOther(t *testing.T, p station.Place) {
	t.Helper()
	dir := t.TempDir()
	root := found(t, station.Founding{Kind: station.Root})
	found(t, station.Founding{Dir: dir, Kind: station.Technician, Place: p, Parent: root}).Close()
	a, err := station.OpenAuthority(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	chain, err := a.Sign(request(t, newKey(t), nil), 0, "")
	if err != nil {
		t.Fatal(err)
	}
	openssl(t, "verify", "-x509_strict", "-CAfile", write(t, "root.pem", []byte(identity.EncodeChain(chain[2:]))),
		"-untrusted", write(t, "between.pem", []byte(identity.EncodeChain(chain[1:2]))), write(t, "leaf.pem", []byte(identity.EncodeChain(chain[:1]))))
	if files, _ := filepath.Glob(filepath.Join(dir, "keys", "*.key.pem")); len(files) > 0 {
		t.Errorf("a key lies in a file: %v", files)
	}
}
