package iothub

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/sim"
)

func (w *world) uploader() *Uploader {
	return &Uploader{Roots: w.hub.config.Roots.Pool(), Dial: w.cloud.Dial}
}

func bundle(text string) File {
	return File{Name: "support 1.txt", Type: "text/plain", Size: int64(len(text)), Body: strings.NewReader(text)}
}

func TestAFileArrivesAndTheHubKnows(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		blob, err := w.uploader().Upload(w.Context(), w.id, bundle(strings.Repeat("all is well\n", 10000)))
		if err != nil || blob != device+"/support 1.txt" {
			t.Fatal(blob, err)
		}
		all := w.cloud.Uploaded(device)
		if len(all) != 1 || !all[0].Success || all[0].StatusCode != 201 || len(all[0].Body) != 120000 || all[0].Type != "text/plain" {
			t.Errorf("%+v", all)
		}
	})
}

func TestAFileThatDoesNotArriveGivesItsPlaceBack(t *testing.T) {
	for name, trouble := range map[string]error{"refused": &sim.Refusal{Code: 503001}, "cut": sim.ErrDrop} {
		temper := sim.Temper{Fault: func(p sim.Point, _ string, n int) error {
			if p == sim.AtBlob {
				return trouble
			}
			return nil
		}}
		inWorld(t, temper, func(w *world) {
			for range 12 { // more than a device has places
				if _, err := w.uploader().Upload(w.Context(), w.id, bundle("x")); err == nil || fault.Of(err) != fault.Transient {
					t.Fatalf("%s: %v", name, err)
				}
			}
			if n := w.cloud.UploadsOpen(device); n != 0 {
				t.Errorf("%s: %d places are not given back", name, n)
			}
			if all := w.cloud.Uploaded(device); len(all) != 12 || all[0].Success {
				t.Errorf("%s: the hub believes %+v", name, all)
			}
		})
	}
}

func TestAStepOfAnUploadThatGoesWrongIsDoneAgain(t *testing.T) {
	for _, at := range []sim.Point{sim.AtUpload, sim.AtBlob, sim.AtUploaded} {
		for name, trouble := range map[string]error{"refused": &sim.Refusal{Code: 503001}, "cut": sim.ErrDrop} {
			temper := sim.Temper{Fault: func(p sim.Point, _ string, n int) error {
				if p == at && n < uploadTries {
					return trouble
				}
				return nil
			}}
			inWorld(t, temper, func(w *world) {
				if _, err := w.uploader().Upload(w.Context(), w.id, bundle("all of it")); err != nil {
					t.Errorf("%s, %s: %v", at, name, err)
				}
				if all := w.cloud.Uploaded(device); len(all) != 1 || !all[0].Success || string(all[0].Body) != "all of it" {
					t.Errorf("%s, %s: the hub has %+v", at, name, all)
				}
			})
		}
	}
}

func TestAnUploadThatIsStoppedGivesItsPlaceBack(t *testing.T) {
	temper := sim.Temper{Fault: func(p sim.Point, _ string, _ int) error {
		if p == sim.AtBlob {
			return sim.ErrSilent
		}
		return nil
	}}
	inWorld(t, temper, func(w *world) {
		ctx, cancel := context.WithTimeout(w.Context(), 5*time.Second)
		defer cancel()
		if _, err := w.uploader().Upload(ctx, w.id, bundle("x")); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if n := w.cloud.UploadsOpen(device); n != 0 {
			t.Errorf("%d places are not given back", n)
		}
	})
}

func TestAHubThatGivesNoPlaceSaysWhoCanHelp(t *testing.T) {
	for code, want := range map[int]fault.Kind{429001: fault.Transient, 500001: fault.Transient, 404001: fault.Operator} {
		temper := sim.Temper{Fault: func(p sim.Point, _ string, _ int) error {
			if p == sim.AtUpload {
				return &sim.Refusal{Code: code, RetryAfter: 7 * time.Second}
			}
			return nil
		}}
		inWorld(t, temper, func(w *world) {
			_, err := w.uploader().Upload(w.Context(), w.id, bundle("x"))
			if err == nil || fault.Of(err) != want {
				t.Errorf("%d: %v is %v, want %v", code, err, fault.Of(err), want)
			}
		})
	}
}

func TestASecretIsInNoError(t *testing.T) {
	for _, body := range []string{
		`{"correlationId":"c","hostName":"a/b","containerName":"c","blobName":"b","sasToken":"?secret"}`,
		`{"correlationId":"c","hostName":"user@a","containerName":"c","blobName":"b","sasToken":"?secret"}`,
		`{"correlationId":"","hostName":"a","containerName":"c","blobName":"b","sasToken":"?secret"}`,
		`{"sasToken":"?secret"`,
	} {
		if _, err := parseSlot([]byte(body)); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", body, err)
		}
	}
	temper := sim.Temper{Fault: func(p sim.Point, _ string, _ int) error {
		if p == sim.AtBlob {
			return sim.ErrDrop
		}
		return nil
	}}
	inWorld(t, temper, func(w *world) {
		if _, err := w.uploader().Upload(w.Context(), w.id, bundle("x")); err == nil || strings.Contains(err.Error(), "sig=") {
			t.Error(err)
		}
	})
}

func FuzzPlacesForFiles(f *testing.F) {
	f.Add([]byte(`{"correlationId":"c","hostName":"a.blob.core.windows.net","containerName":"c","blobName":"d/b","sasToken":"?sv=1&sig=x"}`))
	f.Add([]byte(`{"hostName":"[::1"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if s, err := parseSlot(body); err == nil && (strings.ContainsAny(s.HostName, "/@?#") || s.SASToken == "") {
			t.Errorf("%+v", s)
		}
	})
}
