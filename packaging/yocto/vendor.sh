#!/bin/bash
# vendor.sh [REVISION] makes dist/devid-agent-vendor.tar.xz: the sources and the Go modules of all programs, for releases
# whose bitbake cannot fetch modules. The same revision gives the same bytes; without one, what lies here is taken.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${OUT:-$PWD/dist/devid-agent-vendor.tar.xz}
epoch=$(git log -1 --format=%ct "${1:-HEAD}")
work=$(mktemp -d)
trap 'chmod -R u+w "$work" && rm -rf "$work"' EXIT
tree=$work/devid-agent
mkdir -p "$tree" "$(dirname "$out")"
if [ -n "${1-}" ]; then
	git archive "$1" | tar -xf - -C "$tree"
else
	packaging/yocto/copy.sh "$tree"
fi
(
	cd "$tree"
	export GOWORK=off GOTOOLCHAIN=local GOFLAGS=-mod=mod
	go mod vendor
	# The linter and what it stands on are the larger half. vendor/modules.txt may name what is not there.
	export GOFLAGS=-mod=vendor
	for arch in amd64 arm64 arm riscv64; do
		for cgo in 0 1; do
			CGO_ENABLED=$cgo GOARCH=$arch go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}' ./cmd/... 2>/dev/null
		done
	done | sort -u >"$work/used"
	sed -n 's/^# \([^ ]*\) .*/\1/p' vendor/modules.txt | sort -u | comm -23 - "$work/used" | while read -r unused; do
		rm -rf "vendor/$unused"
	done
	find vendor -type d -empty -delete
)
chmod -R u=rwX,go=rX "$tree"
tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$epoch" -cf - devid-agent | xz -T1 -6 >"$out"
sha256sum "$out"
