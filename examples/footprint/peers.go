package main

import "fmt"

// peer is what is known of another program; "" is not known. These are not measured by this program.
type peer struct {
	name, rest, peak, cpu, wakes, disk, first string
	source                                    string
}

// Measured with the same broker, the same 200 bytes and QoS 1 on another day, on a 2-core amd64 machine; bytes are those
// of a message that is durable before it is accepted. Only the last two have a store on disk.
var measured = []peer{
	{"Azure IoT SDK for C", "8.7", "8.7", "", "", "no store", "65 ms", "built from source"},
	{"Azure IoT SDK for Node", "75", "169", "0.28", "6.3", "no store", "608 ms", "1.18.4"},
	{"paho.mqtt.golang", "6.9", "12.8", "0.008", "4.5", "not synced", "12 ms", "1.5.1"},
	{"paho-mqtt for Python", "21.9", "24.1", "0.011", "1.0", "no store", "140 ms", "1.6.1"},
	{"mosquitto, as a bridge", "10.1", "11.3", "0.11", "12.2", "8,003 to 158,572", "24 ms", "2.0.11"},
	{"telegraf, trimmed", "24.2", "109", "0.042", "12.5", "4,716 to 4,871", "160 ms", "1.37.2"},
}

// What their makers and users publish.
var published = []peer{
	{"Greengrass nucleus lite", "12.4 to 15.8 (PSS)", "", "", "", "", "1.7 to 3 s", "aws-greengrass-lite, benchmark/REPORT.md, RESOURCE_LIMITS.md"},
	{"Greengrass classic", "at least 96", "", "", "", "", "", "AWS blog, December 2024"},
	{"thin-edge.io", "8 a process, 40 in all", "", "", "", "", "", "its documentation, supported platforms"},
	{"IoT Edge, edgeHub", "650 to 700", "", "", "", "", "", "iotedge issue 6965, arm64"},
	{"tailscaled", "32", "", "", "", "", "", "tailscale issue 18013, mipsel"},
}

const row = "  %-26s %-22s %-8s %-8s %-8s %-18s %-11s %s\n"

func printPeers() {
	for _, group := range []struct {
		title string
		peers []peer
	}{{"measured in the same way on another day", measured}, {"published by others", published}} {
		fmt.Println("  " + group.title)
		for _, p := range group.peers {
			fmt.Printf(row, p.name, p.rest, p.peak, p.cpu, p.wakes, p.disk, p.first, p.source)
		}
	}
}
