package iothub

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/sim"
	"github.com/devid-agent/devid-agent/telemetry"
)

// snippet is the code in this language that docs/telemetry.md shows.
func snippet(t *testing.T, language string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/telemetry.md")
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(string(text), "```"+language+"\n")
	code, _, _ = strings.Cut(code, "```")
	return code
}

const pythonFeed = `
import sys
for line in sys.stdin:
    m = json.loads(line)
    for r in readings("d", m["system"], m["properties"], base64.b64decode(m["body"])):
        print(r[0], r[2], r[3])
`

const nodeFeed = `
for (const line of require('node:fs').readFileSync(0, 'utf8').trim().split('\n')) {
  const m = JSON.parse(line);
  for (const r of readings('d', m.system, m.properties, Buffer.from(m.body, 'base64'))) console.log(r.stream, r.seq, r.type);
}
`

// need is the path of program, which the Debian package brings.
func need(t *testing.T, program, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skip("install " + pkg)
	}
	return path
}

func TestTheSnippetsOfTheDocumentationFindEachReadingOnce(t *testing.T) {
	for _, l := range []struct{ language, program, flag, feed string }{
		{"python", need(t, "python3", "python3"), "-c", pythonFeed}, {"javascript", need(t, "node", "nodejs"), "-e", nodeFeed},
	} {
		t.Run(l.language, func(t *testing.T) {
			received := repeated(t)
			cmd := exec.Command(l.program, l.flag, snippet(t, l.language)+l.feed)
			cmd.Stdin, cmd.Stderr = bytes.NewReader(received), os.Stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			for i := range lines {
				kind := "application/json"
				if i == 3 {
					kind = "text/plain"
				}
				if want := fmt.Sprintf("machine %d %s", i+1, kind); lines[i] != want {
					t.Errorf("line %d is %q, want %q", i+1, lines[i], want)
				}
			}
			if len(lines) != 60 {
				t.Errorf("%d readings of 60", len(lines))
			}
		})
	}
}

// repeated is what a hub receives of 60 readings, first alone and then, as after a restart, in packs, and with repeats: a
// line of JSON for each message.
func repeated(t *testing.T) []byte {
	var out bytes.Buffer
	inWorld(t, sim.Temper{LostAck: 7}, func(w *world) {
		q := newShelf(60)
		q.all[3].Type, q.all[3].Body = "text/plain", []byte("hot")
		all := append(q.all[:0:0], q.all...)
		w.pump(telemetry.Lane{Queue: q}, time.Minute)
		for _, zip := range []bool{false, true} {
			q := newShelf(0)
			q.all = all
			w.pump(telemetry.Lane{Queue: q, Pack: telemetry.Pack{Bytes: 1024, Gzip: zip}}, time.Minute)
		}
		for _, m := range w.cloud.Received(device) {
			system := map[string]string{"message-id": m.Properties["$.mid"], "content-type": m.Properties["$.ct"], "creation-time": m.Properties["$.ctime"], "content-encoding": m.Properties["$.ce"]}
			line, err := json.Marshal(map[string]any{"system": system, "properties": m.Properties, "body": base64.StdEncoding.EncodeToString(m.Body)})
			if err != nil {
				t.Fatal(err)
			}
			out.Write(append(line, '\n'))
		}
	})
	return out.Bytes()
}
