package iothub

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/web"
)

// Uploader puts files into the storage account of the hub ("Upload files with IoT Hub", Microsoft Learn). The zero
// Uploader is for Azure and an identity with a certificate.
type Uploader struct {
	APIVersion string         // default 2021-04-12
	Roots      *x509.CertPool // of hub and storage account; nil = the system's
	UserAgent  string
	Connect    string // host:port to dial in place of the hub's; TLS and HTTP keep the hub's name
	Storage    string // the same for the storage account, whose name the hub tells
	// Token returns a shared access signature for resource, good until expiry, for an identity without a certificate.
	Token func(ctx context.Context, resource string, expiry time.Time) (string, error)
	Dial  func(ctx context.Context, network, address string) (net.Conn, error) // nil = TCP
}

// File is what is uploaded.
type File struct {
	Name string        // in the container, behind the device's ID: at most 1024 characters
	Type string        // media type; "" is application/octet-stream
	Size int64         // bytes that Body has
	Body io.ReadSeeker // from its beginning on, each time that it is sent
}

// The times of an upload. A link of 1 KB a second is the slowest that is believed.
const (
	uploadToken    = 10 * time.Minute
	uploadTimeout  = time.Minute
	slowestUpload  = 1 << 10 // bytes a second
	concludeAnyway = 15 * time.Second
	// uploadTries is how often each step is tried where time heals its error, longestPause how long it is waited for.
	uploadTries  = 3
	longestPause = 30 * time.Second
)

// slot is the place that the hub has given to a file. SASToken is a secret.
type slot struct {
	CorrelationID string `json:"correlationId"`
	HostName      string `json:"hostName"`
	Container     string `json:"containerName"`
	Blob          string `json:"blobName"`
	SASToken      string `json:"sasToken"`
}

// Upload returns the file's name in the container once the storage account has it and the hub knows. Where the file did
// not arrive the hub is told so, also when ctx has ended: a device has ten places.
func (u *Uploader) Upload(ctx context.Context, id *identity.Identity, f File) (blob string, err error) {
	if id.Module != "" {
		return "", fault.As(fault.Permanent, errors.New("upload: a hub takes files from devices, not from modules"))
	}
	hub := web.New(u.hubLink(id))
	defer hub.Close()
	var s slot
	if err := patiently(ctx, func() (err error) { s, err = u.begin(ctx, hub, id, f.Name); return err }); err != nil {
		return "", fmt.Errorf("ask %s for a place for a file: %w", id.Hub, err)
	}
	status := 0
	if err = patiently(ctx, func() (err error) { status, err = u.put(ctx, s, f); return err }); err != nil {
		err = fmt.Errorf("upload to %s: %w", s.HostName, err)
	}
	told, cancel := lastingAtLeast(ctx, concludeAnyway)
	defer cancel()
	if no := patiently(told, func() error { return u.conclude(told, hub, id, s, status, err) }); no != nil {
		err = errors.Join(err, fmt.Errorf("tell %s of the upload: %w", id.Hub, no))
	}
	return s.Blob, err
}

// patiently does step again where time heals its error, and not a long time.
func patiently(ctx context.Context, step func() error) error {
	var backoff fault.Backoff
	for try := 1; ; try++ {
		err := step()
		wait, again := backoff.Next(err)
		if err == nil || !again || try == uploadTries || wait > longestPause || fault.Of(err) != fault.Transient {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return err
		}
	}
}

// lastingAtLeast is ctx, or where it has ended another that lasts for d.
func lastingAtLeast(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if ctx.Err() == nil {
		return ctx, func() {}
	}
	return context.WithTimeout(context.WithoutCancel(ctx), d)
}

func (u *Uploader) hubLink(id *identity.Identity) web.Config {
	c := web.Config{Roots: u.Roots, UserAgent: u.UserAgent, Timeout: uploadTimeout, MaxAnswer: 64 << 10, NoRedirects: true, Connect: u.Connect, Dial: u.Dial,
		Identity: "the hub does not accept the certificate over HTTPS: check the device in the hub"}
	if id.Certified() {
		mine := id.Certificate()
		c.Certificate = &mine
	}
	return c
}

func (u *Uploader) begin(ctx context.Context, hub *web.Link, id *identity.Identity, name string) (slot, error) {
	a, err := u.ask(ctx, hub, id, "files", map[string]any{"blobName": name})
	if err != nil {
		return slot{}, err
	}
	if a.Status != http.StatusOK {
		return slot{}, noPlace(a)
	}
	s, err := parseSlot(a.Body)
	return s, fault.As(fault.Permanent, err)
}

// noPlace says why the hub gives none.
func noPlace(a *web.Answer) error {
	if err := a.Portal(); err != nil {
		return err
	}
	err := fmt.Errorf("the hub answers %d: %s", a.Status, a.Quote())
	switch {
	case strings.Contains(string(a.Body), "403006"):
		return fault.Later(err, 10*time.Minute)
	case a.Status == http.StatusTooManyRequests || a.Status >= http.StatusInternalServerError:
		return fault.Later(err, a.After(time.Now(), twinThrottled))
	case a.Status == http.StatusUnauthorized || a.Status == http.StatusForbidden || a.Status == http.StatusNotFound:
		return fault.AskOperator(err, "check that the device is enabled in the hub, and that the hub has a storage container for file upload")
	case a.Status == http.StatusBadRequest && strings.Contains(strings.ToLower(string(a.Body)), "storage"):
		return fault.AskOperator(err, "give the hub a storage container: az iot hub update --fileupload-storage-connectionstring …")
	}
	return fault.As(fault.Permanent, err)
}

// parseSlot reads the hub's answer. Its text is not in the error: a secret is in it.
func parseSlot(body []byte) (slot, error) {
	var s slot
	if json.Unmarshal(body, &s) != nil || s.CorrelationID == "" || s.Container == "" || s.Blob == "" || !strings.HasPrefix(s.SASToken, "?") {
		return slot{}, errors.New("the hub's answer is not as documented")
	}
	u, err := url.Parse("https://" + s.HostName + "/")
	if err != nil || u.Hostname() == "" || u.Host != s.HostName || u.Path != "/" || u.User != nil {
		return slot{}, fmt.Errorf("the hub names %.80q as the storage account", s.HostName)
	}
	return s, nil
}

// put sends the file, with the signature in the address as its only credential. status is 0 where there was no answer.
func (u *Uploader) put(ctx context.Context, s slot, f File) (status int, err error) {
	if _, err := f.Body.Seek(0, io.SeekStart); err != nil {
		return 0, fault.As(fault.Permanent, err)
	}
	time := uploadTimeout + time.Duration(f.Size/slowestUpload)*time.Second
	storage := web.New(web.Config{Roots: u.Roots, UserAgent: u.UserAgent, Timeout: time, MaxAnswer: 64 << 10, NoRedirects: true, Connect: u.Storage, Dial: u.Dial})
	defer storage.Close()
	target := &url.URL{Scheme: "https", Host: s.HostName, Path: "/" + s.Container + "/" + s.Blob, RawQuery: s.SASToken[1:]}
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, target.String(), io.LimitReader(f.Body, f.Size))
	if err != nil {
		return 0, fault.As(fault.Permanent, errors.New("the hub's answer makes no address"))
	}
	r.ContentLength = f.Size
	r.Header.Set("x-ms-blob-type", "BlockBlob")
	r.Header.Set("Content-Type", f.Type)
	if f.Type == "" {
		r.Header.Set("Content-Type", "application/octet-stream")
	}
	a, err := storage.Do(ctx, r)
	if err != nil {
		return 0, err
	}
	if a.Status != http.StatusCreated {
		return a.Status, notStored(a)
	}
	return a.Status, nil
}

func notStored(a *web.Answer) error {
	err := fmt.Errorf("the storage account answers %d %.100q", a.Status, a.Header.Get("x-ms-error-code"))
	switch {
	case a.Status == http.StatusTooManyRequests || a.Status >= http.StatusInternalServerError:
		return fault.Later(err, a.After(time.Now(), twinThrottled))
	case a.Status == http.StatusForbidden:
		return fault.AskOperator(err, "check the firewall of the storage account, and the clock of this device")
	}
	return fault.As(fault.Permanent, err)
}

// conclude tells the hub how it went, and so gives the place back.
func (u *Uploader) conclude(ctx context.Context, hub *web.Link, id *identity.Identity, s slot, status int, failed error) error {
	text := "stored"
	if failed != nil {
		text = "not stored"
	}
	a, err := u.ask(ctx, hub, id, "files/notifications", map[string]any{
		"correlationId": s.CorrelationID, "isSuccess": failed == nil, "statusCode": status, "statusDescription": text,
	})
	if err == nil && a.Status/100 != 2 { // which 2xx is not documented
		err = noPlace(a)
	}
	return err
}

func (u *Uploader) ask(ctx context.Context, hub *web.Link, id *identity.Identity, path string, body map[string]any) (*web.Answer, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	version := u.APIVersion
	if version == "" {
		version = "2021-04-12"
	}
	address := "https://" + id.Hub + "/devices/" + url.PathEscape(id.DeviceID) + "/" + path + "?api-version=" + url.QueryEscape(version)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	if !id.Certified() {
		if err := u.authorize(ctx, r, id); err != nil {
			return nil, err
		}
	}
	return hub.Do(ctx, r)
}

func (u *Uploader) authorize(ctx context.Context, r *http.Request, id *identity.Identity) error {
	if u.Token == nil {
		return fault.AskOperator(errors.New("the identity has no certificate, and there is no key to make a token with"),
			"configure the shared key that the device has enrolled with")
	}
	token, err := u.Token(ctx, id.Hub+"/"+address(id), time.Now().Add(uploadToken))
	r.Header.Set("Authorization", token)
	return err
}
