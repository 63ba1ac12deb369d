package sim_test

import (
	"crypto"
	"crypto/elliptic"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

// The rows named below are those of the table of results that Microsoft observed on the real service, in the
// preview branch of azure-iot-sdk-csharp.
const prefix = "Issue certificate request "

func issueBody(t *testing.T, id string, key crypto.Signer) string {
	t.Helper()
	return fmt.Sprintf(`{"id":%q,"csr":%q}`, id, csr(t, id, key))
}

type outcome struct {
	CorrelationID, OperationExpires, Message, TrackingID, TimestampUTC string
	Certificates                                                       []string
	ErrorCode, RetryAfter                                              int
	Info                                                               *struct {
		CorrelationID, RequestID, OperationExpires, CredentialError, CredentialMessage string
	}
}

// listening is a device at the hub that hears the answers to its requests for certificates.
func listening(t *testing.T, cloud *sim.Cloud, cert credential, more ...func(*hello)) *client {
	t.Helper()
	c := atHub(t, cloud, "d", cert, more...)
	c.listen()
	return c
}

func (c *client) listen() {
	c.t.Helper()
	c.subscribe(1, "$iothub/credentials/res/#", 1)
	c.want(0x90, 0, 1, 1)
}

func (c *client) request(rid, body string) {
	c.t.Helper()
	c.publish(1, 5, "$iothub/credentials/POST/issueCertificate/?$rid="+rid, body)
	c.want(0x40, 0, 5)
}

// answer reads the next answer and fails where it is not of that status for that request.
func (c *client) answer(status int, rid string) (o outcome, raw string) {
	c.t.Helper()
	topic, raw, err := c.message()
	if want := fmt.Sprintf("$iothub/credentials/res/%d/?$rid=%s", status, rid); err != nil || topic != want {
		c.t.Fatalf("%s %s %v, want %s", topic, raw, err, want)
	}
	if err := json.Unmarshal([]byte(raw), &o); err != nil {
		c.t.Fatal(err)
	}
	synctest.Wait() // the PUBACK has arrived, whatever is done to the connection now
	return o, raw
}

func TestRenewalAnswers202Then200(t *testing.T) { // rows 15 and 22
	inBubble(t, sim.Temper{IssueDelay: time.Minute}, func(t *testing.T, cloud *sim.Cloud) {
		c := listening(t, cloud, operational(t, cloud, "d"))
		for _, rid := range []string{"rid-1", "rid-2"} {
			key := newKey(t, elliptic.P256())
			c.request(rid, issueBody(t, "d", key))
			begin := time.Now()
			accepted, _ := c.answer(202, rid)
			expires, err := time.Parse("2006-01-02T15:04:05.000000000Z", accepted.OperationExpires)
			if err != nil || !expires.Equal(begin.Add(12*time.Hour)) || time.Since(begin) != 0 {
				t.Errorf("202 after %v: %+v %v", time.Since(begin), accepted, err)
			}
			done, _ := c.answer(200, rid)
			if time.Since(begin) != time.Minute || done.CorrelationID != accepted.CorrelationID || done.CorrelationID == "" {
				t.Errorf("200 after %v: %+v", time.Since(begin), done)
			}
			fresh := credential{key, parseChain(t, done.Certificates)}
			if len(fresh.chain) != 3 || !key.PublicKey.Equal(fresh.chain[0].PublicKey) {
				t.Fatalf("chain of %d", len(fresh.chain))
			}
			c.publish(1, 6, events("d", ""), "the live session goes on")
			c.want(0x40, 0, 6)
			c = listening(t, cloud, fresh)
		}
		if n := len(cloud.Issued("d")); n != 3 {
			t.Errorf("issued %d", n)
		}
	})
}

func TestBadRequestsAreAnsweredInTheHubsWords(t *testing.T) { // rows 1 to 11
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		c := listening(t, cloud, operational(t, cloud, "d"))
		for _, row := range []struct {
			body string
			code int
			text string
		}{
			{"", 400004, prefix + "payload is missing. Include a JSON payload with 'id' and 'csr' fields."},
			{`{"id":"d"`, 400006, "cannot decode json format"},
			{`["d"]`, 400004, prefix + "'id' field does not match the authenticated device ID. Use the same device ID used for authentication."},
			{`{"id":"d","csr":""}`, 400004, prefix + "'csr' field is invalid or missing. Provide a valid base64-encoded certificate signing request."},
			{`{"id":"d"}`, 400004, prefix + "'csr' field is invalid or missing. Provide a valid base64-encoded certificate signing request."},
			{`{"id":"d","csr":"` + strings.Repeat("A", 8196) + `"}`, 400004, prefix + "'csr' field exceeds maximum allowed length. Reduce the CSR size."},
			{`{"id":"d","csr":"-----BEGIN"}`, 400004, prefix + "'csr' field is not valid base64. Ensure the CSR is properly base64-encoded."},
			{`{"id":"D","csr":"AAAA"}`, 400004, prefix + "'id' field does not match the authenticated device ID. Use the same device ID used for authentication."},
			{`{"id":"","csr":"AAAA"}`, 400004, prefix + "'id' field is invalid or missing. Provide the device ID of the authenticated device."},
			{`{"id":"d","csr":"AAAA","x":1}`, 400004, prefix + "payload contains an unknown field. Only 'id', 'csr', and 'replace' fields are allowed."},
			{`{"id":"d","csr":"AAAA","replace":"123"}`, 400004, prefix + "'replace' field has an invalid format. An exact request ID must be between 4 and 36 characters, only have alphanumeric characters and hyphens, and cannot start or end with a hyphen. Use '*' to replace any pending request."},
			{`{"id":"d","csr":"AAAA","replace":"-1234"}`, 400004, prefix + "'replace' field has an invalid format. An exact request ID must be between 4 and 36 characters, only have alphanumeric characters and hyphens, and cannot start or end with a hyphen. Use '*' to replace any pending request."},
			{`{"id":"d","csr":"AAAA","replace":"1234"}`, 412001, "No active certificate request found to replace. Ensure the request ID in the 'replace' property matches an existing pending request."},
		} {
			c.request("rid-x", row.body)
			o, raw := c.answer(row.code/1000, "rid-x")
			if o.ErrorCode != row.code || o.Message != row.text {
				t.Errorf("%.60s: %s", row.body, raw)
			}
			if !regexp.MustCompile(`^[0-9A-F]{32}-G2:-TimeStamp:`).MatchString(o.TrackingID) || !regexp.MustCompile(`\.\d{9}Z$`).MatchString(o.TimestampUTC) {
				t.Errorf("%s", raw)
			}
			if row.code == 412001 && o.Info.RequestID != "1234" || row.code != 412001 && !strings.Contains(raw, `"info":null`) {
				t.Errorf("info: %s", raw)
			}
		}
		cloud.SetTemper(sim.Temper{OmitInfo: true})
		c.request("rid-x", "")
		if _, raw := c.answer(400, "rid-x"); strings.Contains(raw, "info") {
			t.Error(raw)
		}
	})
}

func TestACSRThatDoesNotHoldIsAcceptedFirst(t *testing.T) { // row 12
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		c := listening(t, cloud, operational(t, cloud, "d"))
		for _, bad := range []string{"AAAA", csr(t, "e", newKey(t, elliptic.P256())), csr(t, "d", newKey(t, elliptic.P521()))} {
			c.request("rid-1", fmt.Sprintf(`{"id":"d","csr":%q}`, bad))
			c.answer(202, "rid-1")
			o, raw := c.answer(400, "rid-1")
			if o.ErrorCode != 400037 || !strings.HasPrefix(o.Message, "Unable to complete the certificate request at this time") ||
				o.Info.CredentialError != "400000" || o.Info.CredentialMessage != "CSR did not pass verification" {
				t.Error(raw)
			}
		}
	})
}

func TestSilenceWithoutRequestIDOrSubscription(t *testing.T) { // rows 14, 16 and 26
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		c := atHub(t, cloud, "d", operational(t, cloud, "d"))
		body := issueBody(t, "d", newKey(t, elliptic.P256()))
		c.request("rid-1", body)
		c.listen()
		c.silent()
		c.publish(1, 5, "$iothub/credentials/POST/issueCertificate/", body)
		c.want(0x40, 0, 5)
		c.silent()
		if n := len(cloud.Issued("d")); n != 1 {
			t.Errorf("issued %d", n)
		}
	})
}

func TestUnsubscribedIsNotToldUntilSubscribedAgain(t *testing.T) { // rows 17 and 18
	inBubble(t, sim.Temper{IssueDelay: time.Second}, func(t *testing.T, cloud *sim.Cloud) {
		c := listening(t, cloud, operational(t, cloud, "d"))
		c.request("rid-1", issueBody(t, "d", newKey(t, elliptic.P256())))
		c.answer(202, "rid-1")
		c.send(frame(0xa2, []byte{0, 8}, str("$iothub/credentials/res/#")))
		c.want(0xb0, 0, 8)
		c.silent()
		c.listen()
		c.answer(200, "rid-1")
	})
}

func TestTheResultWaitsForTheDeviceToComeBack(t *testing.T) { // rows 19, 20 and 21
	inBubble(t, sim.Temper{IssueDelay: time.Minute}, func(t *testing.T, cloud *sim.Cloud) {
		cert := operational(t, cloud, "d")
		ask := func(rid string) {
			c := listening(t, cloud, cert, persistent)
			c.request(rid, issueBody(t, "d", newKey(t, elliptic.P256())))
			c.answer(202, rid)
			c.conn.Close()
			time.Sleep(time.Hour)
		}
		ask("kept")
		c, err := wire(t, cloud, sim.HubHost, cert)
		if err != nil {
			t.Fatal(err)
		}
		c.send(hello{id: "d", user: hubUser("d", newHub), flags: 0x80}.bytes())
		c.want(0x20, 1, 0)
		c.answer(200, "kept")

		ask("clean")
		c = atHub(t, cloud, "d", cert)
		c.silent()
		c.listen()
		c.answer(200, "clean")

		ask("late")
		time.Sleep(12 * time.Hour)
		listening(t, cloud, cert).silent()
	})
}

func TestAnUnacknowledgedResultIsSentAgainMarkedDUP(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		cert := operational(t, cloud, "d")
		c := listening(t, cloud, cert, persistent)
		c.request("rid-1", issueBody(t, "d", newKey(t, elliptic.P256())))
		for range 2 { // 202 and 200, neither acknowledged
			if first, _, err := c.read(); err != nil || first != 0x32 {
				t.Fatalf("%#x %v", first, err)
			}
		}
		c.listen()
		c.send(frame(0xc0))
		c.want(0xd0) // and not the result a second time
		c.conn.Close()
		c = atHub(t, cloud, "d", cert, persistent)
		for range 2 {
			if first, _, err := c.read(); err != nil || first != 0x3a {
				t.Fatalf("%#x %v", first, err)
			}
		}
		c = listening(t, cloud, cert)
		c.answer(200, "rid-1")
		c.request("rid-2", issueBody(t, "d", newKey(t, elliptic.P256())))
		c.answer(202, "rid-2")
		c.answer(200, "rid-2")
	})
}

func TestOnePendingRequestKeepsOutAnother(t *testing.T) { // rows 23, 24 and 25
	inBubble(t, sim.Temper{IssueDelay: time.Minute}, func(t *testing.T, cloud *sim.Cloud) {
		c := listening(t, cloud, operational(t, cloud, "d"))
		body := func(replace string) string {
			return fmt.Sprintf(`{"id":"d","csr":%q,"replace":%q}`, csr(t, "d", newKey(t, elliptic.P256())), replace)
		}
		first := issueBody(t, "d", newKey(t, elliptic.P256()))
		c.request("rid-1", first)
		accepted, _ := c.answer(202, "rid-1")
		c.request("rid-2", issueBody(t, "d", newKey(t, elliptic.P256())))
		no, raw := c.answer(409, "rid-2")
		if no.ErrorCode != 409004 || no.Info.RequestID != "rid-1" || no.Info.CorrelationID != accepted.CorrelationID || no.Info.OperationExpires != accepted.OperationExpires {
			t.Error(raw)
		}
		c.request("rid-1", first)
		if again, _ := c.answer(202, "rid-1"); again.CorrelationID != accepted.CorrelationID {
			t.Error("the same request again is another operation")
		}
		c.request("rid-3", body("rid-2"))
		c.answer(412, "rid-3")
		c.request("rid-4", body("rid-1"))
		c.answer(202, "rid-4")
		c.request("rid-5", body("*"))
		c.answer(202, "rid-5")
		c.answer(200, "rid-5")
		c.silent()
		if n := len(cloud.Issued("d")); n != 2 {
			t.Errorf("issued %d: a cancelled request was fulfilled", n)
		}
		c.request("rid-6", body("*"))
		c.answer(202, "rid-6")
		c.answer(200, "rid-6")
	})
}
