// Command bench measures the agent side by side with others on the same work: mosquitto, paho.mqtt.golang and telegraf. It
// prints what it found beside the goals, draws it, and with -write puts both into docs/performance.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/devid-agent/devid-agent/examples/stage"
)

type options struct {
	agent, paho, files, scratch string
	document, plots             string
	only, feed                  string
	quick, write                bool
	rounds, kills, window       int
	began                       time.Time
}

// limit is for a loaded machine; a quiet one with two cores takes under 25 minutes.
const limit = time.Hour

func main() {
	o := options{began: time.Now()}
	flag.StringVar(&o.agent, "agent", "bin/devid-agent", "the agent's `binary`")
	flag.StringVar(&o.paho, "paho", "bin/bench-paho", "the `binary` of examples/bench/paho")
	flag.StringVar(&o.files, "files", "examples/bench", "`directory` of the configurations, with ${…} where the benchmark fills in")
	flag.StringVar(&o.scratch, "scratch", "/var/tmp", "`directory` on a disk, for what is kept while it runs")
	flag.StringVar(&o.document, "document", "docs/performance.md", "`file` whose table -write renews")
	flag.StringVar(&o.plots, "plots", "docs/plots", "`directory` where -write draws")
	flag.StringVar(&o.only, "only", "", "`rows` to measure, with commas: "+strings.Join(rowNames(), ","))
	flag.StringVar(&o.feed, "intake", "batch", "how readings are handed to the agent: http, batch or mqtt")
	flag.BoolVar(&o.quick, "quick", false, "a twentieth of the readings and one round: to see that it runs, not to publish")
	flag.BoolVar(&o.write, "write", false, "renew the document and the plots; of all rows only")
	flag.IntVar(&o.rounds, "rounds", 3, "how often each is measured, in turn")
	flag.IntVar(&o.kills, "kills", 20, "how often the agent is killed in the row crash")
	flag.IntVar(&o.window, "window", 200, "messages in flight, of the agent and of paho")
	flag.Parse()
	stage.Run("bench", limit, func(ctx context.Context) (bool, error) { return true, measure(ctx, o) })
}

// row is one experiment.
type row struct {
	name string
	what string
	run  func(ctx context.Context, b *bench) error
}

func rows() []row {
	return []row{
		{"throughput", "durable messages a second, and the processor for them", throughput},
		{"roundtrip", "messages a second at a round trip of 50 ms", roundtrip},
		{"flash", "bytes that reach the device for a message", flash},
		{"wire", "bytes on the wire for a reading, alone and in batches of 20", wireBytes},
		{"memory", "memory at rest, in a burst, and with a backlog", memory},
		{"start", "a start with 100,000 readings that wait", startUp},
		{"reconnect", "signatures of the TPM for a connection that comes back", reconnect},
		{"renewal", "how long a renewal silences telemetry", renewal},
		{"crash", "readings that a SIGKILL costs", crash},
		{"flip", "readings that a flipped bit costs", flip},
	}
}

func rowNames() (names []string) {
	for _, r := range rows() {
		names = append(names, r.name)
	}
	return names
}

// measure does the rows that are wanted. A row that cannot be measured does not keep the others from it.
func measure(ctx context.Context, o options) error {
	if o.quick {
		o.rounds, o.kills = 1, min(o.kills, 5)
	}
	wanted, err := chosen(o.only)
	if err != nil {
		return err
	}
	if o.write && (len(wanted) < len(rows()) || o.quick) {
		return errors.New("a document is written of all rows, measured in full")
	}
	b := &bench{options: o}
	defer b.close()
	if err := b.open(ctx); err != nil {
		return err
	}
	var wrong []error
	for _, r := range wanted {
		b.tell("── %s: %s", r.name, r.what)
		if err := r.run(ctx, b); err != nil {
			b.tell("%s: %v", r.name, err)
			b.results.judge(verdict{Row: r.name, What: r.what, Measured: "not measured", Goal: "to be measured"})
			wrong = append(wrong, fmt.Errorf("%s: %w", r.name, err))
		}
	}
	return errors.Join(append(wrong, b.report())...)
}

func chosen(only string) (wanted []row, err error) {
	if only == "" {
		return rows(), nil
	}
	names := strings.Split(only, ",")
	for _, r := range rows() {
		if at := slices.Index(names, r.name); at >= 0 {
			wanted = append(wanted, r)
			names = slices.Delete(names, at, at+1)
		}
	}
	if len(names) > 0 {
		return nil, fmt.Errorf("there is no row %q: there are %s", names[0], strings.Join(rowNames(), ", "))
	}
	return wanted, nil
}

// report prints the table, and writes it where that is wanted.
func (b *bench) report() error {
	machine := b.machine()
	fmt.Println()
	for _, line := range machine {
		fmt.Println("  " + line)
	}
	b.results.print()
	if n := b.results.missed(); n > 0 {
		fmt.Printf("\n  %d goals are missed.\n", n)
	}
	if !b.write {
		return nil
	}
	return errors.Join(writePlots(b.plots, b.results.plots), renew(b.document, machine, b.results))
}
