#!/bin/sh
# parts.sh prints what the agent for arm64 weighs without each of its optional parts. It is called by make, like build.sh, and knows their tags by EVERY_PART.
set -eu
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# bytes is what the file's segments hold: the file itself grows in steps of 16 KB.
bytes() { size "$1" | awk 'NR == 2 { print $1 + $2 }'; }

TAGS0=$TAGS whole=
all=$EVERY_PART
printf '%-58s %10s %10s\n' 'left out by -tags' bytes less
for part in '' $(echo $all | tr , ' ') $all; do
	TAGS=$TAGS0${part:+,$part} packaging/build.sh "$dir/devid-agent-arm64"
	size=$(bytes "$dir/devid-agent-arm64")
	whole=${whole:-$size}
	printf '%-58s %10d %10d\n' "${part:-(nothing)}" "$size" $((whole - size))
done
