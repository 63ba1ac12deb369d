#!/bin/bash
# test.sh ROOT WORK tries `devid-agent service` on a machine without systemd, in the chroot ROOT: a System V script that is
# installed, starts the agent, starts it again when it is killed, and goes away without a trace. packaging/deb/test.sh
# calls it.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$1 work=$2
fail() { echo "FAIL: $*" >&2; exit 1; }
told() { echo "ok   $*"; }
in_root() { chroot "$root" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"; }
service() { in_root /opt/devid/devid-agent service "$1"; }
agents() { in_root sh -c 'for p in /proc/[0-9]*; do tr "\0" " " <$p/cmdline 2>/dev/null | grep -q "^/opt/devid/devid-agent run" && basename $p; done' 2>/dev/null || true; }
# until SECONDS COMMAND...: waits for it to be true.
until_true() {
	for _ in $(seq $(($1 * 10))); do
		"${@:2}" && return
		sleep 0.1
	done
	return 1
}
one_agent() { [ "$(agents | wc -l)" = 1 ]; }
another_agent() { one_agent && [ "$(agents)" != "$first" ]; }
no_agent() { [ -z "$(agents)" ]; }

mkdir -p "$root/opt/devid"
here=$(dpkg --print-architecture)
make -s "dist/devid-agent-$here" "dist/devid-service-$here"
for program in agent service; do cp "dist/devid-$program-$here" "$root/opt/devid/devid-$program"; done
# A machine that has no systemd makes users in another way.
hide() { for program in "$@"; do mv "$root$(in_root sh -c "command -v $program")" "$work/$program"; done; }
in_root userdel devid-agent
hide systemd-sysusers
[ "$(service status)" = "not installed" ] || fail "status before: $(service status)"
service install >"$work/installed"
[ -x "$root/etc/init.d/devid-agent" ] && [ -L "$root/etc/rc2.d/S50devid-agent" ] || fail "no script: $(cat "$work/installed")"
in_root sh -n /etc/init.d/devid-agent
service install >/dev/null # again, as an upgrade does
[ "$(service status)" = stopped ] || fail "status after install: $(service status)"
in_root id -nG devid-agent | grep -qw tss || fail "the user: $(in_root id devid-agent)"
told "devid-agent service install makes the user and writes a System V script, also over its own"

mkdir -p "$root/etc/devid-agent"
packaging/inert.sh <examples/agent.yaml >"$root/etc/devid-agent/agent.yaml"
if service start >/dev/null 2>&1; then fail "it starts without a configuration"; fi
sleep 1
[ "$(service status)" = stopped ] || fail "it is started again and again without a configuration"
told "without a configuration it does not start, and does not try again"

printf 'device: {id: gateway-sysv}\nhub: {host: simhub.azure-devices.net, connect: "127.0.0.1:9"}\nkeys: {tpm: "swtpm:host=127.0.0.1,port=9"}\nbootstrap: {certificate: bootstrap.pem, key: bootstrap.key}\n' >"$root/etc/devid-agent/agent.yaml"
in_root chown devid-agent: /etc/devid-agent/bootstrap.key
service start
until_true 10 one_agent || fail "no agent after start: $(agents)"
[ "$(service status)" = running ] || fail "status after start: $(service status)"
first=$(agents)
[ "$(in_root stat -c %U "/proc/$first")" = devid-agent ] || fail "the agent is $(in_root stat -c %U "/proc/$first")"
grep -q 'Max core file size *0' "/proc/$first/limits" || fail "it may leave core files"
told "it runs as devid-agent"
kill -9 "$first"
until_true 15 another_agent || fail "not started again after a kill"
told "killed, it is started again"
service stop
until_true 5 no_agent || fail "still there after stop"
[ "$(service status)" = stopped ] || fail "status after stop: $(service status)"
# Three ways to become the user: setpriv, then start-stop-daemon, then su.
for without in setpriv start-stop-daemon; do
	hide $without
	service start
	until_true 10 one_agent || fail "no agent without $without"
	[ "$(in_root stat -c %U "/proc/$(agents)")" = devid-agent ] || fail "without $without the agent is somebody else"
	service stop
	until_true 5 no_agent || fail "without $without, still there after stop"
done
service start
told "it starts and stops in all three ways to become the user"
service uninstall >"$work/uninstalled"
no_agent || fail "the agent outlives its service"
left=$(cd "$root/etc" && find . -name '*devid-agent' ! -path ./devid-agent)
[ -z "$left" ] || fail "uninstall leaves $left"
[ "$(service status)" = "not installed" ] || fail "status after uninstall: $(service status)"
there=$(grep -c 'stay' "$work/uninstalled") && [ "$there" = 1 ] && [ -d "$root/var/lib/devid-agent" ] || fail "uninstall took the state along"
told "uninstalled, it leaves nothing but state and configuration"
printf '#!/bin/sh\n' >"$root/etc/init.d/devid-agent"
if service install >/dev/null 2>&1; then fail "it overwrote a script that is not its own"; fi
told "it does not touch a script that somebody else put there"
