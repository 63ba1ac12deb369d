package sim_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

const fileVersion = "?api-version=2021-04-12"

// place is what the hub grants for a file.
type place struct {
	CorrelationID, HostName, ContainerName, BlobName, SASToken string
}

func (p place) path() string { return "/" + p.ContainerName + "/" + p.BlobName + p.SASToken }

func askPlace(t *testing.T, b *browser, name string) place {
	t.Helper()
	r := b.do("POST", "/devices/d/files"+fileVersion, fmt.Sprintf(`{"blobName":%q}`, name))
	if r.status != http.StatusOK {
		t.Fatal(r)
	}
	var p place
	if err := json.Unmarshal([]byte(r.body), &p); err != nil || p.HostName != sim.BlobHost || p.BlobName != "d/"+name || !strings.HasPrefix(p.SASToken, "?") {
		t.Fatalf("%v %+v", err, p)
	}
	return p
}

func storage(t *testing.T, c *sim.Cloud) *browser {
	b := browse(t, c, sim.BlobHost, credential{})
	b.header = http.Header{"X-Ms-Blob-Type": {"BlockBlob"}, "Content-Type": {"text/plain"}}
	return b
}

func TestADeviceUploadsAFile(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, c *sim.Cloud) {
		hub := browse(t, c, sim.HubHost, operational(t, c, "d"))
		p := askPlace(t, hub, "a b.txt")
		if r := hub.do("POST", "/devices/d/files/notifications"+fileVersion, `{"correlationId":"`+p.CorrelationID+`","isSuccess":true}`); r.status != 400 {
			t.Error("a file that never came:", r)
		}
		if r := storage(t, c).do("PUT", strings.ReplaceAll(p.path(), " ", "%20"), "hello"); r.status != http.StatusCreated {
			t.Fatal(r)
		}
		done := fmt.Sprintf(`{"correlationId":%q,"isSuccess":true,"statusCode":201,"statusDescription":"stored"}`, p.CorrelationID)
		if r := hub.do("POST", "/devices/d/files/notifications"+fileVersion, done); r.status != http.StatusNoContent {
			t.Fatal(r)
		}
		all := c.Uploaded("d")
		if len(all) != 1 || fmt.Sprintf("%s %s %s %t %d %s", all[0].Blob, all[0].Body, all[0].Type, all[0].Success, all[0].StatusCode, all[0].Description) != "d/a b.txt hello text/plain true 201 stored" {
			t.Errorf("%+v", all)
		}
		if r := hub.do("POST", "/devices/d/files/notifications"+fileVersion, done); r.status != http.StatusNotFound {
			t.Error("twice:", r)
		}
	})
}

func TestTheNodeClientsPathConcludesAnUpload(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, c *sim.Cloud) {
		hub := browse(t, c, sim.HubHost, operational(t, c, "d"))
		p := askPlace(t, hub, "f")
		if r := hub.do("POST", "/devices/d/files/notifications/"+url.PathEscape(p.CorrelationID)+fileVersion, `{"isSuccess":false,"statusCode":500,"statusDescription":"x"}`); r.status != http.StatusNoContent {
			t.Error(r)
		}
		if n := c.UploadsOpen("d"); n != 0 {
			t.Errorf("%d open", n)
		}
	})
}

func TestTheStorageAccountTakesNothingButTheSignature(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, c *sim.Cloud) {
		mine := operational(t, c, "d")
		p := askPlace(t, browse(t, c, sim.HubHost, mine), "f")
		other := askPlace(t, browse(t, c, sim.HubHost, mine), "g")
		plain := storage(t, c)
		plain.header.Del("X-Ms-Blob-Type")
		with := browse(t, c, sim.BlobHost, mine)
		with.header = storage(t, c).header
		for want, r := range map[string]reply{
			"MissingRequiredHeader":     plain.do("PUT", p.path(), "x"),
			"InvalidAuthenticationInfo": with.do("PUT", p.path(), "x"),
			"AuthenticationFailed":      storage(t, c).do("PUT", "/"+p.ContainerName+"/"+p.BlobName+other.SASToken, "x"),
			"UnsupportedHttpVerb":       storage(t, c).do("GET", p.path(), ""),
		} {
			if r.header.Get("x-ms-error-code") != want || !strings.Contains(r.body, "<Code>"+want+"</Code>") {
				t.Errorf("%s: %v", want, r)
			}
		}
		time.Sleep(time.Hour + time.Second)
		if r := storage(t, c).do("PUT", p.path(), "x"); r.status != http.StatusForbidden {
			t.Error("too late:", r)
		}
	})
}

func TestUploadsNeedTheDeviceAndAreCounted(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, c *sim.Cloud) {
		mine := operational(t, c, "d")
		if r := browse(t, c, sim.HubHost, credential{}).do("POST", "/devices/d/files"+fileVersion, `{"blobName":"f"}`); r.status != http.StatusUnauthorized {
			t.Error(r)
		}
		if r := browse(t, c, sim.HubHost, operational(t, c, "e")).do("POST", "/devices/d/files"+fileVersion, `{"blobName":"f"}`); r.status != http.StatusUnauthorized {
			t.Error(r)
		}
		hub := browse(t, c, sim.HubHost, mine)
		for _, body := range []string{`{}`, `{"blobName":"f","x":1}`, `{"blobName":"f"}{}`, ``} {
			if r := hub.do("POST", "/devices/d/files"+fileVersion, body); r.status != http.StatusBadRequest {
				t.Error(body, r)
			}
		}
		for i := range 10 {
			askPlace(t, hub, fmt.Sprint(i))
		}
		if r := hub.do("POST", "/devices/d/files"+fileVersion, `{"blobName":"f"}`); r.status != http.StatusForbidden || !strings.Contains(r.body, "403006") {
			t.Error(r)
		}
		time.Sleep(time.Hour + time.Second)
		askPlace(t, hub, "again")
	})
}
