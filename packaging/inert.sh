#!/bin/sh
# inert.sh comments out every value of examples/agent.yaml: what a package installs changes nothing until a person edits
# it, and says so by itself when the agent reads it.
set -eu
cat <<'END'
# This file is as the package installed it: nothing is set yet, and so the service does not run. Take the "#" away before
# device.id, bootstrap.certificate, bootstrap.key and provisioning.dps.id_scope, and say what yours are. Then:
#
#   devid-agent config check && systemctl restart devid-agent
#
END
exec sed -E '/^ *[a-z0-9_]+: +[^ #]/{/^remote: \{\}/!s/^( *)/\1#/}'
