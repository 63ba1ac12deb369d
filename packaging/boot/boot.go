// Package boot holds what each init system needs to start the agent at boot: the files that the packages install, so
// that there is one truth of them.
package boot

import (
	_ "embed"
	"strings"
)

// Program is where the packages put the agent, and so what the scripts name.
const Program = "/usr/bin/devid-agent"

// Mark is in each script that `devid-agent service install` writes, and in no package's file.
const Mark = "`devid-agent service install`"

var (
	//go:embed devid-agent.service
	unit string
	//go:embed sysv.sh
	sysv string
	//go:embed openrc.sh
	openrc string
	//go:embed procd.sh
	procd string
	//go:embed upstart.conf
	upstart string
	//go:embed devid-agent.sysusers
	user string
)

// Systemd is the unit for an agent whose program lies at path.
func Systemd(path string) string { return at(unit, path) }

// SysV is the script for /etc/init.d, which starts the agent again when it fails.
func SysV(path string) string { return at(sysv, path) }

// OpenRC is the script for /etc/init.d, under supervise-daemon.
func OpenRC(path string) string { return at(openrc, path) }

// Procd is the script for /etc/init.d of OpenWrt.
func Procd(path string) string { return at(procd, path) }

// Upstart is the job for /etc/init.
func Upstart(path string) string { return at(upstart, path) }

// User is what systemd-sysusers makes the agent's user from.
func User() string { return user }

func at(script, path string) string { return strings.ReplaceAll(script, Program, path) }
