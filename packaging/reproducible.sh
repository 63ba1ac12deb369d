#!/bin/bash
# reproducible.sh [PATTERN] builds two clean clones of HEAD, and compares: other directories, homes, caches, time zones,
# locales and umasks must give the same bytes. PATTERN picks artefacts, such as 'agent-arm64' for a quick look; 'deb' is
# the Debian packages.
set -euo pipefail
cd "$(dirname "$0")/.."
pattern=${1:-.}
work=$(mktemp -d)
trap 'chmod -R u+w "$work" && rm -rf "$work"' EXIT
# Both are clones of this one: the repository may move on meanwhile.
git clone --quiet --bare . "$work/source"
modules=$(go env GOMODCACHE)
cache=$(go env GOCACHE)

# build NAME CACHE: the artefacts of a clean clone under $work/NAME, and their sums.
build() {
	local tree=$work/$1/devid
	mkdir -p "$work/$1/home"
	git clone --quiet "$work/source" "$tree"
	cd "$tree"
	export HOME=$work/$1/home GOMODCACHE=$modules GOCACHE=$2
	local names
	names=$(make -s print-artefacts | tr ' ' '\n' | grep -E "$pattern" || true)
	if [ -n "$names" ]; then
		# shellcheck disable=SC2086 # names without spaces
		make -s $names && SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) go run ./packaging/sbom -version x $names
	fi
	if [[ deb =~ $pattern ]]; then
		LINTIAN=true packaging/deb/build.sh "$(dpkg --print-architecture)" >/dev/null
	fi
	(cd dist && find . -type f ! -name SHA256SUMS | LC_ALL=C sort | xargs sha256sum) >"$work/$1.sums"
}

(export TZ=UTC LC_ALL=C && build one "$cache")
# An empty cache: else the second build would be the first one's result.
(umask 077 && export TZ=Pacific/Auckland LC_ALL=C.UTF-8 && build a/longer/path/for/two "$work/cache")

if ! diff "$work/one.sums" "$work/a/longer/path/for/two.sums"; then
	echo "not reproducible: the same sources gave other bytes" >&2
	exit 1
fi
echo "reproducible: $(wc -l <"$work/one.sums") files are the same from two clean clones of $(git describe --tags --always)"
