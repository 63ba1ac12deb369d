package main

import (
	"path/filepath"
	"strings"
	"time"

	"github.com/devid-agent/devid-agent/telemetry"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// batchConfig is how readings of one stream go together in one message.
type batchConfig struct {
	// Bytes is how large a message may become; IoT Hub meters in steps of 4 KB. Default 0: each reading is a message.
	Bytes int64 `yaml:"bytes,size" min:"0" max:"255KiB" like:"4KB"`
	// Age is how long a reading may wait for others. Default 0: what is there goes together, and nothing waits.
	Age time.Duration `yaml:"age" min:"0" max:"1h" like:"10s"`
	// Format of a message with several readings. Default json.
	Format string `yaml:"format" oneof:"json cbor"`
	// Gzip compresses it. Default false.
	Gzip bool `yaml:"gzip"`
}

// keepConfig is how readings are kept until the hub has acknowledged them.
type keepConfig struct {
	// MaxBytes on disk. Default: the room's, 64MiB.
	MaxBytes int64 `yaml:"max_bytes,size" min:"1MiB" max:"1TiB" like:"64MiB"`
	// TTL is how long a reading is worth sending. Default 0: for ever.
	TTL time.Duration `yaml:"ttl" min:"0" max:"87600h" like:"24h"`
	// Within is how soon a reading is on the disk. Until then it is in memory, and costs the flash nothing if the hub
	// acknowledges it first; a power cut forgets it. Default 0: it is on the disk before it is promised.
	Within time.Duration `yaml:"within" min:"0" max:"1h" like:"10s"`
	// Drop is what gives way when MaxBytes are full: the oldest readings (the default), the newest one, or none: refuse
	// tells the sender to come again.
	Drop string `yaml:"drop" oneof:"oldest newest refuse"`
}

// streamConfig is what holds for one stream, which then has a lane of its own.
type streamConfig struct {
	// Priority of its messages. Default normal, as that of all streams without a section.
	Priority   string `yaml:"priority" oneof:"low normal high"`
	keepConfig `yaml:",inline"`
	Batch      batchConfig `yaml:"batch"`
}

var priorities = map[string]int{"low": -1, "": 0, "normal": 0, "high": 1}

var drops = map[string]spool.Drop{"": spool.DropOldest, "oldest": spool.DropOldest, "newest": spool.DropNewest, "refuse": spool.Refuse}

// usualLane is the name of the lane of the streams without a section of their own; no stream can have it.
const usualLane = ""

func (b batchConfig) pack() telemetry.Pack {
	return telemetry.Pack{Bytes: int(b.Bytes), Age: b.Age, Format: b.Format, Gzip: b.Gzip}
}

func (k keepConfig) limits(c *Config) spool.Limits {
	l := spool.Limits{
		MaxBytes: k.MaxBytes, SegmentBytes: c.Telemetry.Spool.SegmentBytes,
		TTL: k.TTL, Within: k.Within, Drop: drops[k.Drop], Reserve: c.Telemetry.Spool.Reserve,
	}
	if day := c.Telemetry.Spool.DailyBytes; day > 0 {
		l.Budget = max(day/int64(1+len(c.Telemetry.Streams)), 1)
	}
	if k.MaxBytes > 0 && l.SegmentBytes > k.MaxBytes/2 {
		l.SegmentBytes = 0 // that of the usual lane is too large for this one: the room knows
	}
	return l
}

func spoolDir(c *Config) string   { return filepath.Join(c.Device.State, "spool") }
func streamsDir(c *Config) string { return filepath.Join(c.Device.State, "streams") }

func (d *decoder) checkStreams(c *Config) {
	for name, s := range c.Telemetry.Streams {
		field := "telemetry.streams." + name
		d.wrong(field, !spool.ValidStream(name) || strings.Trim(name, ".") == "", quote(name)+" is no name of a stream", "use 1 to 64 of a-z A-Z 0-9 - _ .")
		d.checkBatch(field+".batch", s.Batch)
	}
	d.checkBatch("telemetry.batch", c.Telemetry.Batch)
}

func (d *decoder) checkBatch(field string, b batchConfig) {
	for name, set := range map[string]bool{"age": b.Age > 0, "format": b.Format == "cbor", "gzip": b.Gzip} {
		d.wrong(field+"."+name, set && b.Bytes == 0, "is about messages with several readings, and "+field+".bytes allows one", "set bytes: 4KB, or remove this line")
	}
}
