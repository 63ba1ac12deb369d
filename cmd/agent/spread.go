package main

import (
	"os"
	"strconv"
	"strings"
	"time"
)

// young is how long after its boot a machine counts as one of many that got their power back together.
const young = 5 * time.Minute

// spread is in what time the first connection comes. A service that is restarted, or begins with no reboot, is alone.
func (a *agent) spread() time.Duration {
	if a.config.Hub.Spread == 0 || a.world.lock != nil { // an agent was there before, in this process
		return 0
	}
	text, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return a.config.Hub.Spread // no proc file system yet: that is a boot
	}
	if uptime(string(text)) >= young {
		return 0
	}
	return a.config.Hub.Spread
}

// uptime reads the first number of /proc/uptime (proc_uptime(5)): seconds since the boot.
func uptime(text string) time.Duration {
	seconds, _, _ := strings.Cut(text, " ")
	n, err := strconv.ParseFloat(seconds, 64)
	if err != nil {
		return 0
	}
	return time.Duration(n * float64(time.Second))
}
