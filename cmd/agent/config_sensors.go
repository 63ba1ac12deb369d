package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/devid-agent/devid-agent/telemetry/sensors"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// probeConfig samples one source, and reports a sum of the samples.
type probeConfig struct {
	// Source is what is read.
	Source string `yaml:"source,required" oneof:"thermal hwmon load memory disk network uptime pressure clock kernel iio w1 process service exec"`
	// As is its name in the readings. Default: that of the source.
	As string `yaml:"as" like:"boiler"`
	// Every is how often it is read. Default: the interval of the sensors.
	Every time.Duration `yaml:"every" min:"100ms" max:"24h" like:"5s"`
	// Report is how often there is a reading. Default: each time.
	Report time.Duration `yaml:"report" min:"100ms" max:"24h" like:"1m"`
	// Keep is what becomes of the samples in between. Default last.
	Keep string `yaml:"keep" oneof:"last mean min max range histogram"`
	// Bounds of the histogram, ascending.
	Bounds []float64 `yaml:"bounds" like:"20"`
	// Deadband is how far a value must have moved to be told. Default 0: each is told.
	Deadband float64 `yaml:"deadband" like:"0.5"`
	// Heartbeat is how long a value that does not move is kept back. Default: the room's, 1h.
	Heartbeat time.Duration `yaml:"heartbeat" min:"1s" max:"24h" like:"1h"`
	// Unit of the values, for those who read them. Default: it is in their names.
	Unit string `yaml:"unit" like:"bar"`
	// Only these values of the source. Default: all.
	Only []string `yaml:"only" like:"cpu*"`
	// Stream of the readings. Default machine.
	Stream string `yaml:"stream" like:"heat"`
	// Timeout of one reading of the source. Default: the room's, 5s.
	Timeout time.Duration `yaml:"timeout" min:"100ms" max:"10m" like:"5s"`
	// Names of the processes or services.
	Names []string `yaml:"names" like:"nginx"`
	// Command that exec starts, with its arguments; no shell reads it.
	Command []string `yaml:"command,repeats" like:"/usr/lib/boiler/read"`
	// Env is what the command is told by environment variables, NAME=VALUE.
	Env []string `yaml:"env" like:"LANG=C"`
	// Dir is where the command is started. Default: /.
	Dir string `yaml:"dir" like:"/var/lib/boiler"`
}

// tailConfig follows a file.
type tailConfig struct {
	// File or FIFO.
	File string `yaml:"file,required" like:"/var/log/press.log"`
	// Stream of its lines.
	Stream string `yaml:"stream,required" like:"press"`
	// Format is auto (JSON where a line is, else text; the default) or text.
	Format string `yaml:"format" oneof:"auto text"`
	// From is where a file begins that is seen for the first time: its end (the default) or its start.
	From string `yaml:"from" oneof:"end start"`
}

func (d *decoder) checkSensors(c *Config) {
	s := c.Telemetry.Sensors
	off := !s.Enabled && d.sets("telemetry.sensors.enabled")
	contradicts := "contradicts " + d.line("telemetry.sensors.enabled")
	d.wrong("telemetry.sensors.sources", off && len(s.Sources) > 0, contradicts, "set enabled: true, or remove sources")
	d.wrong("telemetry.sensors.each", off && len(s.Each) > 0, contradicts, "set enabled: true, or remove each")
	for i, p := range s.Each {
		d.checkProbe(fmt.Sprintf("telemetry.sensors.each[%d]", i), p)
	}
	first := map[string]int{}
	for i, t := range c.Telemetry.Tail {
		field := fmt.Sprintf("telemetry.tail[%d]", i)
		d.wrong(field+".stream", !spool.ValidStream(t.Stream), quote(t.Stream)+" is no name of a stream", "use 1 to 64 of a-z A-Z 0-9 - _ .")
		line, twice := first[t.File]
		d.wrong(field+".file", twice, fmt.Sprintf("followed twice, first on line %d", line), "keep one of the two")
		if !twice {
			first[t.File] = d.marks[field+".file"].line
		}
		d.wrong(field+".file", !filepath.IsAbs(t.File), quote(t.File)+" is no absolute path", "write all of it")
	}
}

func (d *decoder) checkProbe(field string, p probeConfig) {
	named := p.Source == "process" || p.Source == "service"
	d.wrong(field+".stream", p.Stream != "" && !spool.ValidStream(p.Stream), quote(p.Stream)+" is no name of a stream", "use 1 to 64 of a-z A-Z 0-9 - _ .")
	d.wrong(field+".as", p.As == "time", "is what each reading calls its time", "call it something else")
	d.wrong(field, named && len(p.Names) == 0, "names nothing to look for", "add names: [nginx]")
	d.wrong(field+".names", !named && len(p.Names) > 0, "is for the sources process and service", "remove it")
	d.wrong(field, p.Source == "exec" && (len(p.Command) == 0 || !filepath.IsAbs(p.Command[0])), "exec without a command that is named by its whole path",
		"add command: [/usr/lib/boiler/read]")
	d.wrong(field+".command", p.Source != "exec" && len(p.Command) > 0, "is for the source exec", "remove it")
	d.wrong(field+".env", p.Source != "exec" && len(p.Env) > 0, "is for the source exec", "remove it")
	d.wrong(field+".env", slices.ContainsFunc(p.Env, func(v string) bool { return !isVariable(v) }), "not all are NAME=VALUE", "write them as PORT=/dev/ttyS1")
	d.wrong(field+".dir", p.Source != "exec", "is for the source exec", "remove it")
	d.wrong(field+".dir", !filepath.IsAbs(p.Dir), quote(p.Dir)+" is no absolute path", "write all of it")
	d.wrong(field, p.Keep == "histogram" && !d.bad[field+".bounds"] && (len(p.Bounds) == 0 || !slices.IsSorted(p.Bounds)), "a histogram without ascending bounds", "add bounds: [20, 40, 60]")
	d.wrong(field+".bounds", p.Keep != "histogram" && len(p.Bounds) > 0, "is for keep: histogram", "remove it")
	d.wrong(field+".report", p.Report > 0 && p.Report < p.Every, "more often than every", "make it a multiple of every")
	d.wrong(field+".source", p.Source != "" && !slices.Contains(sensors.Kinds(), p.Source), quote(p.Source)+" is not in this build", "install the agent with all parts")
}
