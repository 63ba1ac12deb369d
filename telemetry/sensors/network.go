package sensors

import (
	"context"
	"fmt"
	"strings"
)

// places of the counters in a line of /proc/net/dev (proc_pid_net(5)).
var interfacePlaces = map[string]int{
	"rx_bytes": 0, "rx_packets": 1, "rx_errors": 2, "rx_dropped": 3,
	"tx_bytes": 8, "tx_packets": 9, "tx_errors": 10, "tx_dropped": 11, "tx_carrier_errors": 14,
}

// network reads the counters of each interface but the loopback, and the state of its link.
func network(ctx context.Context, m Machine) *found {
	f := nothing()
	text, err := m.text("proc/net/dev")
	f.broken(err)
	for line := range strings.Lines(text) {
		name, counters, ok := strings.Cut(line, ":")
		name = strings.TrimSpace(name)
		if !ok || name == "lo" || ctx.Err() != nil {
			continue
		}
		values, err := numbers(strings.Fields(counters), interfacePlaces)
		if err != nil {
			f.broken(fmt.Errorf("parse net/dev: %s: %w", name, err))
			continue
		}
		m.link(values, name)
		f.values[name] = values
	}
	return f
}

// link adds what the interface says of its link (Documentation/ABI/testing/sysfs-class-net). One that is down says less:
// the read of its carrier is EINVAL, and an unknown speed is -1.
func (m Machine) link(values map[string]any, name string) {
	if state, err := m.text("sys/class/net", name, "operstate"); err == nil && state != "" {
		values["state"] = state
	}
	if carrier, err := m.integer("sys/class/net", name, "carrier"); err == nil {
		values["carrier"] = carrier == 1
	}
	for file, key := range map[string]string{"carrier_changes": "carrier_changes", "speed": "speed_megabits"} {
		if n, err := m.integer("sys/class/net", name, file); err == nil && n >= 0 {
			values[key] = n
		}
	}
}
