#!/sbin/openrc-run
# Put here by `devid-agent service install`, which overwrites it.
name="devid-agent"
description="Device identity agent: hardware key, Azure IoT enrollment, telemetry"
supervisor=supervise-daemon
command=/usr/bin/devid-agent
command_args=run
command_user=devid-agent:devid-agent
respawn_delay=5
respawn_max=0
output_logger="logger -t devid-agent"
error_logger="logger -t devid-agent"
umask=077
rc_ulimit="-c 0"
export GOMEMLIMIT=48MiB
export GOMAXPROCS=1

depend() {
	need localmount
	use net logger
	after clock bootmisc
}

start_pre() {
	checkpath --directory --owner devid-agent:devid-agent --mode 0755 /run/devid-agent
	checkpath --directory --owner devid-agent:devid-agent --mode 0700 /var/lib/devid-agent
	# supervise-daemon starts again whatever the exit code: a mistake in the configuration is to be seen before.
	"$command" config check
}
