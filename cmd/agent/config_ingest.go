package main

import (
	"fmt"
	"io/fs"
	"net"
	"strings"
)

// ingestConfig is how other programs hand over their readings.
type ingestConfig struct {
	// Socket takes readings over HTTP. Default /run/devid-agent/ingest.sock; "" is off.
	Socket string `yaml:"socket,path" like:"/run/devid-agent/ingest.sock"`
	// Mode of the socket. Default: the room's, 0660.
	Mode fs.FileMode `yaml:"mode" like:"\"0660\""`
	// Connections at a time. Default: the room's, 64.
	Connections int `yaml:"connections" min:"1" max:"1024" like:"64"`
	// MaxBatch is how large a request with several readings may be. Default: the room's, 1MiB.
	MaxBatch int64 `yaml:"max_batch,size" min:"4KiB" max:"64MiB" like:"1MiB"`
	// InHand is how much may be on its way to the disk. Default: the room's, 4MiB.
	InHand int64 `yaml:"in_hand,size" min:"256KiB" max:"256MiB" like:"4MiB"`
	// Permissions say who may write which streams. Default: whoever may open the socket, all.
	Permissions []permissionConfig `yaml:"permissions"`
	// Quota is what a client may hand over in a minute.
	Quota struct {
		// Readings in a minute. Default 0: no limit.
		Readings int `yaml:"readings" min:"0" max:"100000000" like:"6000"`
		// Bytes in a minute. Default 0: no limit.
		Bytes int64 `yaml:"bytes,size" min:"0" max:"1TiB" like:"10MB"`
	} `yaml:"quota"`
	// MQTT listens for programs that speak MQTT 3.1.1.
	MQTT struct {
		// Listen is an address of the loopback, or the path of a Unix socket. Default "": off.
		Listen string `yaml:"listen" like:"127.0.0.1:1883"`
		// Mode of that socket. Default: the room's, 0660.
		Mode fs.FileMode `yaml:"mode" like:"\"0660\""`
		// Passwords is a file with a line user:password for each who may connect. Default: none is asked for.
		Passwords string `yaml:"passwords,path" like:"credential:mqtt-passwords"`
		// Connections at a time. Default: the room's, 64.
		Connections int `yaml:"connections" min:"1" max:"1024" like:"64"`
		// Topics make streams of topics. Default: the topic, with dots for its slashes.
		Topics []topicConfig `yaml:"topics"`
	} `yaml:"mqtt"`
}

// permissionConfig allows streams to a user of the machine, a group, or a user of the MQTT listener.
type permissionConfig struct {
	// User by name or number.
	User string `yaml:"user" like:"press"`
	// Group by name or number.
	Group string `yaml:"group" like:"sensors"`
	// Login is the user name of an MQTT client.
	Login string `yaml:"login" like:"press"`
	// Streams may have a * in their names.
	Streams []string `yaml:"streams,required" like:"hall.*"`
}

// topicConfig is where the messages of some topics go.
type topicConfig struct {
	// Filter is that of MQTT, with + and #.
	Filter string `yaml:"filter,required" like:"sensors/+/temp"`
	// Stream has {1}, {2} … for what the pluses stand for; "" ignores the messages.
	Stream string `yaml:"stream" like:"\"{1}\""`
	// Type is the media type of the messages. Default: JSON where it is, else bytes.
	Type string `yaml:"type" like:"text/plain"`
}

func (d *decoder) checkIngest(c *Config) {
	const socket, listen = "telemetry.ingest.socket", "telemetry.ingest.mqtt.listen"
	in := c.Telemetry.Ingest
	d.wrong(socket, len(in.Socket) > maxSocketPath,
		fmt.Sprintf("%d characters, and a Unix socket has room for %d", len(in.Socket), maxSocketPath), "choose a shorter path")
	for field, mode := range map[string]fs.FileMode{"telemetry.ingest.mode": in.Mode, "telemetry.ingest.mqtt.mode": in.MQTT.Mode} {
		d.wrong(field, mode&0o600 != 0o600, "shuts out the agent itself", `write "0600", "0660" or "0666"`)
	}
	d.wrong(listen, !listenable(in.MQTT.Listen), quote(in.MQTT.Listen)+" is neither an address of this machine's loopback nor a path",
		"write 127.0.0.1:1883, [::1]:1883 or /run/devid-agent/mqtt.sock")
	d.wrong(listen, in.MQTT.Listen != "" && in.MQTT.Listen == in.Socket, "is the socket that takes HTTP", "choose another path")
	for _, only := range []string{"telemetry.ingest.mqtt.passwords", "telemetry.ingest.mqtt.topics"} {
		d.wrong(only, in.MQTT.Listen == "" && !d.bad[listen], "is for programs that speak MQTT, and listen is not set", "add listen: 127.0.0.1:1883, or remove this")
	}
	d.wrong("telemetry.ingest.mqtt.mode", in.MQTT.Listen != "" && !strings.HasPrefix(in.MQTT.Listen, "/"),
		"is for a Unix socket, and whoever is on this machine can connect to an address", "listen at a path, or remove this line")
	d.wrong("telemetry.ingest.max_batch", in.InHand > 0 && in.MaxBatch > in.InHand, "more than may be in hand, "+d.line("telemetry.ingest.in_hand"), "make in_hand larger")
	for i, p := range in.Permissions {
		field := fmt.Sprintf("telemetry.ingest.permissions[%d]", i)
		d.wrong(field, p.User == "" && p.Group == "" && p.Login == "", "names nobody", "add user, group or login")
	}
	for i, t := range in.MQTT.Topics {
		err := checkTopic(t)
		d.wrong(fmt.Sprintf("telemetry.ingest.mqtt.topics[%d]", i), err != nil, fmt.Sprint(err), "write it as {filter: sensors/+/temp, stream: \"{1}\"}")
	}
}

func listenable(address string) bool {
	if address == "" || strings.HasPrefix(address, "/") {
		return len(address) <= maxSocketPath
	}
	host, _, err := net.SplitHostPort(address)
	return err == nil && (host == "localhost" || net.ParseIP(host).IsLoopback())
}
