package main

import (
	"errors"
	"fmt"
	"os/exec"
	"os/user"
	"strings"

	"github.com/devid-agent/devid-agent/packaging/boot"
)

// userWays are the ways to make a system user, each with the program that must be there: systemd's, the shadow suite's,
// busybox's, OpenWrt's.
var userWays = []struct{ needs, script, input string }{
	{needs: "systemd-sysusers", script: "systemd-sysusers -", input: boot.User()},
	{needs: "useradd", script: "useradd --system --user-group --home-dir /var/lib/devid-agent --no-create-home --shell /bin/false devid-agent"},
	{needs: "adduser", script: "addgroup -S devid-agent && adduser -S -D -H -h /var/lib/devid-agent -s /bin/false -G devid-agent devid-agent"},
	{needs: "uci", script: ". /lib/functions.sh && group_add_next devid-agent && " +
		`user_add devid-agent "" "$(sed -n 's/^devid-agent:[^:]*:\([0-9]*\):.*/\1/p' /etc/group)" devid-agent /var/lib/devid-agent /bin/false`},
}

// makeUser sees to it that the agent's user exists, and that it may use the TPM where a group tss does.
func makeUser() error {
	if _, err := user.Lookup(name); err != nil {
		if err := addUser(); err != nil {
			return err
		}
	}
	return joinTSS()
}

func addUser() error {
	for _, way := range userWays {
		if _, err := exec.LookPath(way.needs); err == nil {
			return shell(way.script, way.input)
		}
	}
	return errors.New("no program here makes users: make a system user devid-agent with a group of that name, and try again")
}

func joinTSS() error {
	if _, err := user.LookupGroup("tss"); err != nil {
		return nil
	}
	if _, err := exec.LookPath("usermod"); err == nil {
		return shell("usermod -a -G tss devid-agent", "")
	}
	return shell("addgroup devid-agent tss", "")
}

func shell(script, input string) error {
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Stdin = strings.NewReader(input)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", script, err, strings.TrimSpace(string(text)))
	}
	return nil
}
