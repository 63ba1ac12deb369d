#!/bin/sh
# dist.sh ARTEFACT... finishes what make has built in dist/: SBOM and notices beside each artefact, SHA256SUMS, SIZES.txt
# with the size gate, and LEDGER.txt, which says what each dependency costs in the agent.
set -eu
cd "$(dirname "$0")/.."
go=${GO:-go}
: "${GATE_arm64:?is the most that the agent may weigh on arm64, in bytes}"
# The time of the sources, not of the build: reproducible-builds.org/specs/source-date-epoch.
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}"

for file in "$@"; do
	chmod 0755 "$file"
	"$go" version -m "$file" >/dev/null # a Go program with its build information in it
done
"$go" run ./packaging/sbom -version "$VERSION" "$@"

(cd dist && for file in "$@"; do echo "${file#dist/}"; echo "${file#dist/}.cdx.json"; echo "${file#dist/}.notices"; done | LC_ALL=C sort | xargs sha256sum) >dist/SHA256SUMS

table() {
	printf '%-26s %10s %10s\n' artefact bytes 'xz -6'
	for file in "$@"; do
		size=$(stat -c %s "$file") sent='' note=''
		case $file in
		dist/devid-agent-*) sent=$(xz -6 -c "$file" | wc -c) ;; # what an update sends to thousands of devices; xz is slow
		esac
		if [ "$file" = dist/devid-agent-arm64 ]; then
			note="  gate $GATE_arm64, room for $((GATE_arm64 - size))"
		fi
		printf '%-26s %10d %10s%s\n' "${file#dist/}" "$size" "$sent" "$note"
	done
}
table "$@" | sed 's/ *$//' >dist/SIZES.txt

# The agent once more, with its symbols.
if [ -e dist/devid-agent-arm64 ]; then
	UNSTRIPPED=1 packaging/build.sh dist/symbols/devid-agent-arm64
	{
		echo "What the agent is made of on arm64, in bytes of the file; packages of at least 0.1 %."
		"$go" run ./packaging/ledger -shipped dist/devid-agent-arm64 dist/symbols/devid-agent-arm64
	} >dist/LEDGER.txt
	rm -r dist/symbols
fi

cat dist/SIZES.txt
echo
# The whole list of packages is in the file; here the modules, and what is ours.
grep -E '^[^%]*%  [^ ]|devid-agent/devid-agent/|^What' dist/LEDGER.txt
echo
size=$(stat -c %s dist/devid-agent-arm64)
if [ "$size" -gt "$GATE_arm64" ]; then
	echo "dist/devid-agent-arm64 is over the gate of $GATE_arm64 bytes by $((size - GATE_arm64)): see dist/LEDGER.txt" >&2
	exit 1
fi
