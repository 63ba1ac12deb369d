package station_test

import (
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/devid-agent/devid-agent/station"
)

func TestReportIsSignedSoThatPlainOpensslVerifiesIt(t *testing.T) {
	for _, algorithm := range []string{"ecdsa-p256", "rsa-2048"} {
		root := found(t, station.Founding{Kind: station.Root, Place: station.Place{Algorithm: algorithm}})
		in, dir := folder(t, "gw-1", "gw-2"), t.TempDir()
		o := openOrder(t, dir, nil, "gw-1.csr", "gw-2.csr", "=cmd|gone")
		if err := (&station.Batch{Order: o, Reach: in.Reach, Signer: station.LocalSigner{Authority: root}}).Run(t.Context()); err == nil {
			t.Error("the order is finished")
		}
		if _, err := o.WriteReport("order 7", root); err != nil {
			t.Fatal(err)
		}
		file := func(name string) string { return filepath.Join(dir, name) }
		if err := os.WriteFile(file("signer.pub"), []byte(openssl(t, "x509", "-in", file(station.SignerFile), "-noout", "-pubkey")), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, report := range []string{station.ReportCSV, station.ReportJSON} {
			openssl(t, "dgst", "-sha256", "-verify", file("signer.pub"), "-signature", file(report+station.SignatureExt), file(report))
		}
		checkReport(t, file)
	}
}

func checkReport(t *testing.T, file func(string) string) {
	t.Helper()
	b, err := os.ReadFile(file(station.ReportJSON))
	if err != nil {
		t.Fatal(err)
	}
	var r station.Report
	if err := json.Unmarshal(b, &r); err != nil || r.Devices != 3 || r.Finished != 2 || r.Order != "order 7" {
		t.Errorf("%v: %s", err, b)
	}
	f, err := os.Open(file(station.ReportCSV))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil || len(rows) != 4 || rows[1][2] != "'=cmd|gone" || rows[2][3] != "gw-1" || rows[2][4] != station.Installed {
		t.Errorf("%v: %q", err, rows)
	}
}
