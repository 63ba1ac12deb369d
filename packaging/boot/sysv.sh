#!/bin/sh
# Put here by `devid-agent service install`, which overwrites it.
# chkconfig: 2345 95 05
# description: device identity agent
### BEGIN INIT INFO
# Provides:          devid-agent
# Required-Start:    $remote_fs
# Required-Stop:     $remote_fs
# Should-Start:      $network $syslog $time
# Should-Stop:       $network $syslog
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: device identity agent
# Description:       Gives the device an identity whose key cannot leave its hardware, and streams telemetry with it.
### END INIT INFO
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
program=/usr/bin/devid-agent
user=devid-agent
run=/run/devid-agent
pid_file=$run/service.pid

# The keeper is this script, called with "keep": a shell that starts the agent again when it fails.
keeper() {
	pid=$(cat "$pid_file" 2>/dev/null) || return 1
	tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q 'devid-agent keep'
}

agent() {
	if setpriv --reuid="$user" --regid="$user" --init-groups true 2>/dev/null; then
		exec setpriv --reuid="$user" --regid="$user" --init-groups "$program" run
	fi
	if command -v start-stop-daemon >/dev/null; then
		# The pid file is one that is never written: this start is not to look for a running agent.
		exec start-stop-daemon -S -q -c "$user:$user" -p "$run/none.pid" -a "$program" -- run
	fi
	exec su -s /bin/sh "$user" -c "exec '$program' run"
}

keep() {
	stopping=
	trap 'stopping=1; kill "$child" 2>/dev/null' TERM INT
	trap '' HUP
	echo $$ >"$pid_file"
	while :; do
		agent &
		child=$!
		wait "$child"
		code=$?
		if [ -n "$stopping" ]; then
			wait "$child" # a signal ends wait before the agent has ended
			break
		fi
		case $code in
		0) break ;;
		78)
			echo "not started again: correct /etc/devid-agent/agent.yaml, then start the service"
			break
			;;
		esac
		echo "ended with code $code, starting again in 5 seconds"
		sleep 5 &
		child=$!
		wait "$child"
		[ -z "$stopping" ] || break
	done
	rm -f "$pid_file"
}

log() {
	if command -v logger >/dev/null; then logger -t devid-agent; else cat >/dev/null; fi
}

start() {
	if keeper; then
		echo "Already running"
		return 0
	fi
	mkdir -p "$run" && chown "$user:$user" "$run" && chmod 0755 "$run"
	mkdir -p /var/lib/devid-agent && chown "$user:$user" /var/lib/devid-agent && chmod 0700 /var/lib/devid-agent
	umask 077
	ulimit -c 0
	export GOMEMLIMIT=48MiB
	export GOMAXPROCS=1
	cd /
	"$0" keep </dev/null 2>&1 | log >/dev/null 2>&1 &
	sleep 1
	keeper && echo "Running" && return 0
	echo "Not started: see the system's log, and: $program config check"
	return 1
}

stop() {
	if ! keeper; then
		echo "Stopped"
		return 0
	fi
	kill "$pid"
	for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
		[ -d "/proc/$pid" ] || break
		sleep 1
	done
	if [ -d "/proc/$pid" ]; then
		echo "Still running as process $pid"
		return 1
	fi
	rm -f "$pid_file"
	echo "Stopped"
}

case ${1-} in
start) start ;;
stop) stop ;;
restart | force-reload) stop && start ;;
keep) keep ;; # by start
status)
	if keeper; then
		echo "Running"
		exit 0
	fi
	echo "Stopped"
	exit 3 # Linux Standard Base 5.0, Init Script Actions: not running
	;;
*)
	echo "usage: $0 start|stop|restart|status" >&2
	exit 2
	;;
esac
