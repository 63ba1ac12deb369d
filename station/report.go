package station

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/durable"
)

// Files of a report, in the directory of the order.
const (
	ReportCSV    = "report.csv"
	ReportJSON   = "report.json"
	SignerFile   = "signer.pem" // the chain of the authority that signed
	SignatureExt = ".sig"
)

// Line is one device in the report of an order.
type Line struct {
	Target    string     `json:"target"`
	Device    string     `json:"device"`
	State     string     `json:"state"`
	Since     time.Time  `json:"since"`
	Serial    string     `json:"serial,omitempty"`
	SHA256    string     `json:"sha256,omitempty"` // of the certificate, in hex
	Issuer    string     `json:"issuer,omitempty"`
	NotBefore *time.Time `json:"not_before,omitempty"`
	NotAfter  *time.Time `json:"not_after,omitempty"`
	Tries     int        `json:"tries"`
	Error     string     `json:"error,omitempty"`
	Hint      string     `json:"hint,omitempty"`
}

// Report is what became of an order.
type Report struct {
	Order    string    `json:"order"`
	At       time.Time `json:"at"`
	SignedBy string    `json:"signed_by,omitempty"`
	Devices  int       `json:"devices"`
	Finished int       `json:"finished"`
	Lines    []Line    `json:"lines"`
}

// Report is the order as it stands.
func (o *Order) Report(name string) Report {
	r := Report{Order: name, At: time.Now().UTC().Truncate(time.Second), Lines: []Line{}}
	for _, i := range o.Items() {
		r.Devices++
		if i.State == Installed {
			r.Finished++
		}
		r.Lines = append(r.Lines, i.line())
	}
	return r
}

func (i Item) line() Line {
	l := Line{Target: i.Target, Device: i.Device, State: i.State, Since: i.Since.Truncate(time.Second), Tries: i.Tries, Error: i.Error, Hint: i.Hint}
	if leaf := i.Leaf(); leaf != nil {
		from, to := leaf.NotBefore.UTC(), leaf.NotAfter.UTC()
		l.Serial, l.SHA256, l.Issuer, l.NotBefore, l.NotAfter = leaf.SerialNumber.Text(16), Thumbprint(leaf), leaf.Issuer.String(), &from, &to
	}
	return l
}

// WriteReport writes the report as CSV and as JSON beside the order, and signs both with the key of a, where a is not
// nil. It returns the files, the signatures not among them. A cut may leave a file whose signature is not its own yet:
// write it again. Anybody verifies with plain openssl:
//
//	openssl x509 -in signer.pem -noout -pubkey > signer.pub
//	openssl dgst -sha256 -verify signer.pub -signature report.csv.sig report.csv
func (o *Order) WriteReport(name string, a *Authority) ([]string, error) {
	d, err := durable.Open(o.path, nil)
	if err != nil {
		return nil, err
	}
	r := o.Report(name)
	if a != nil {
		r.SignedBy = a.Certificate().Subject.String()
		if err := d.Write(SignerFile, []byte(identity.EncodeChain(a.Chain()))); err != nil {
			return nil, err
		}
	}
	asJSON, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, err
	}
	asCSV, err := r.csv()
	if err != nil {
		return nil, err
	}
	var files []string
	for file, b := range map[string][]byte{ReportCSV: asCSV, ReportJSON: append(asJSON, '\n')} {
		if err := writeSigned(d, file, b, a); err != nil {
			return nil, fmt.Errorf("report: %w", err)
		}
		files = append(files, d.File(file))
	}
	return files, nil
}

func writeSigned(d *durable.Dir, file string, b []byte, a *Authority) error {
	if err := d.Write(file, b); err != nil {
		return err
	}
	if a == nil {
		return d.Remove(file + SignatureExt) // of an older report
	}
	digest := sha256.Sum256(b)
	signature, err := a.key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return fmt.Errorf("sign %s: %w", file, err)
	}
	return d.Write(file+SignatureExt, signature)
}

func (r Report) csv() ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	rows := [][]string{{"order", "at", "target", "device", "state", "since", "serial", "sha256", "issuer", "not_before", "not_after", "tries", "error", "hint"}}
	for _, l := range r.Lines {
		rows = append(rows, []string{r.Order, stamp(&r.At), l.Target, l.Device, l.State, stamp(&l.Since), l.Serial, l.SHA256, l.Issuer,
			stamp(l.NotBefore), stamp(l.NotAfter), strconv.Itoa(l.Tries), l.Error, l.Hint})
	}
	for _, row := range rows {
		for i, cell := range row {
			row[i] = plain(cell)
		}
		if err := w.Write(row); err != nil {
			return nil, err
		}
	}
	w.Flush()
	return b.Bytes(), w.Error()
}

func stamp(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Format(time.RFC3339)
}

// plain keeps a spreadsheet from taking for a formula what a device has said (OWASP, "CSV Injection").
func plain(cell string) string {
	if cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r") {
		return "'" + cell
	}
	return cell
}
