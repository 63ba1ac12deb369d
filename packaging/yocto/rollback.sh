#!/bin/bash
# rollback.sh [REVISION] proves that an update may be undone: the release at REVISION (default: the last tag, or the commit
# before HEAD), this one, and that one again run on one state directory and one TPM, as two slots of a device would. The
# identity that this release has renewed goes on in the one before, and the readings that it had promised arrive.
set -euo pipefail
cd "$(dirname "$0")/../.."
revision=$(git rev-parse --verify "${1:-$(git describe --tags --abbrev=0 --match 'v[0-9]*' 2>/dev/null || echo HEAD~1)}^{commit}")
work=$(mktemp -d)
pids=()
trap 'kill -KILL "${pids[@]}" 2>/dev/null; wait 2>/dev/null; rm -rf "$work"' EXIT

# The same sources with the history of their modules: what lies here is not touched.
mkdir "$work/source" "$work/cloud" "$work/tpm"
git archive "$revision" | tar -xf - -C "$work/source"
export CGO_ENABLED=0 GOWORK=off GOFLAGS=-buildvcs=false
(cd "$work/source" && go build -tags nethttpomithttp2 -ldflags '-X main.release=before' -o "$work/before" ./cmd/agent)
go build -tags nethttpomithttp2 -ldflags '-X main.release=after' -o "$work/after" ./cmd/agent
go build -o "$work/cloudsim" ./cmd/cloudsim

swtpm socket --tpm2 --tpmstate "dir=$work/tpm" --server "type=unixio,path=$work/tpm.sock" \
	--ctrl "type=unixio,path=$work/tpm.sock.ctrl" --flags not-need-init,startup-clear 2>"$work/tpm.log" &
pids+=($!)
"$work/cloudsim" -dir "$work/cloud" -device gw -record "$work/record" >"$work/agent.yaml" 2>"$work/cloud.log" &
cloud=$!
pids+=("$cloud")

await() { # await WHAT COMMAND...: half a minute at most
	local what=$1
	shift
	for _ in $(seq 300); do
		if "$@"; then return; fi
		sleep 0.1
	done
	echo "rollback.sh: in vain: $what" >&2
	tail -n 5 "$work"/*.log >&2
	exit 1
}
await "the cloud" grep -q '^hub:' "$work/agent.yaml"
cat >>"$work/agent.yaml" <<END
keys: {tpm: "swtpm:path=$work/tpm.sock"}
telemetry: {sensors: {interval: 1s}, ingest: {socket: $work/ingest.sock}}
status: {file: $work/status.json}
END
sed -i "s|^device: {|device: {state: $work/state, |" "$work/agent.yaml"

status() { "$work/after" status --json --config "$work/agent.yaml" 2>/dev/null; }
generation() { status | tr -d ' \n' | sed -n 's/.*"identity":{[^}]*"generation":\([0-9]*\).*/\1/p'; }
connected() { kill -0 "$agent" && status | tr -d ' \n' | grep -q "\"version\":\"$1\".*\"state\":\"online\""; }
newer() { [ "$(generation)" -gt "$1" ]; }
arrived() { [ "$(grep -o '"kept":[0-9]*' "$work/record" | sort -u | wc -l)" = "$1" ]; }

boot() { # boot before|after: the slot that the boot loader has chosen
	rm -f "$work/status.json"
	"$work/$1" run --config "$work/agent.yaml" 2>>"$work/$1.log" &
	agent=$!
	pids+=("$agent")
	await "$1 is connected" connected "$1"
	echo "$1: generation $(generation), connected"
}
halt() { # halt SIGNAL
	kill "-$1" "$agent"
	wait "$agent" || true
}

boot before
first=$(generation)
halt TERM

boot after
[ "$(generation)" = "$first" ]
"$work/after" renew --config "$work/agent.yaml" >/dev/null
await "a renewal" newer "$first"
await "the renewed identity is connected" connected after
second=$(generation)
# The update goes wrong: the network stands still, readings are promised, the power fails.
kill -STOP "$cloud"
for n in $(seq 20); do
	curl -sS --fail --unix-socket "$work/ingest.sock" -H 'Content-Type: application/json' -d "{\"kept\":$n}" http://agent/v1/telemetry/rollback >/dev/null
done
halt KILL
kill -CONT "$cloud"

boot before
[ "$(generation)" = "$second" ] || { echo "rollback.sh: the identity is another one: generation $(generation), and it was $second" >&2 && exit 1; }
await "the readings that the newer release promised" arrived 20
halt TERM

boot after
[ "$(generation)" = "$second" ]
halt TERM
echo "rolled back and forth between $(git describe --tags --always "$revision") and this tree: one identity, no reading lost"
