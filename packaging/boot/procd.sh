#!/bin/sh /etc/rc.common
# Put here by `devid-agent service install`, which overwrites it.
USE_PROCD=1
START=50
STOP=02
program=/usr/bin/devid-agent

start_service() {
	# procd starts again whatever the exit code: a mistake in the configuration is to be seen before.
	"$program" config check || return 1
	mkdir -p /var/run/devid-agent /var/lib/devid-agent
	chown devid-agent:devid-agent /var/run/devid-agent /var/lib/devid-agent
	chmod 0700 /var/lib/devid-agent
	procd_open_instance
	procd_set_param command "$program" run
	procd_set_param user devid-agent
	procd_set_param group devid-agent
	procd_set_param respawn 3600 5 0
	procd_set_param env GOMEMLIMIT=48MiB GOMAXPROCS=1
	procd_set_param limits core="0 0"
	procd_set_param no_new_privs 1
	procd_set_param stdout 1
	procd_set_param stderr 1
	procd_set_param term_timeout 15
	procd_close_instance
}
