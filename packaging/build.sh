#!/bin/sh
# build.sh dist/devid-PROGRAM-ARCH builds one artefact: the same bytes wherever the sources lie and whoever builds.
# It is called by make, which knows TAGS, GCFLAGS and LDFLAGS; with UNSTRIPPED=1 the symbols stay in, for the ledger.
set -eu
cd "$(dirname "$0")/.."
out=$1
name=${out##*/devid-}
program=${name%-*} arch=${name##*-}

# Debian calls armhf what Go calls GOARM=7; armv6 is for the first Raspberry Pi and the Zero.
case $arch in
amd64) export GOARCH=amd64 GOAMD64=v1 triplet=x86_64-linux-gnu ;;
arm64) export GOARCH=arm64 GOARM64=v8.0 triplet=aarch64-linux-gnu ;;
armv7 | armhf) export GOARCH=arm GOARM=7 triplet=arm-linux-gnueabihf ;;
armv6) export GOARCH=arm GOARM=6 triplet= ;;
riscv64) export GOARCH=riscv64 GORISCV64=rva20u64 triplet= ;;
*) echo "build.sh: unknown architecture $arch" >&2; exit 2 ;;
esac
# Go rounds segments to the largest page that an architecture knows, of 64 KB. Those of 32-bit ARM are of 4 KB, and those
# of an arm64 board of 4 or 16 (Raspberry Pi 5); a kernel with pages of 64 KB, a server's, cannot load what is rounded to 16.
case $GOARCH:$program in
arm:*) LDFLAGS="${LDFLAGS-} -R 4096" ;;
arm64:agent) LDFLAGS="-R 16384 ${LDFLAGS-}" ;; # one in LDFLAGS wins
esac
[ -z "${UNSTRIPPED-}" ] || LDFLAGS=$(printf %s "$LDFLAGS" | sed 's/-s -w//')

# stand_in DIR gives the agent third_party/ in place of what is too large for it, by DIR/overlay.json and DIR/go.mod; not in
# go.mod itself, since the simulator and the tests need the originals. Of net/http: host names in other scripts than ASCII,
# which are 230 KB of Unicode. The MQTT client links two modules to open connections, and the agent opens them. The YAML
# parser is the original but for the package regexp; its sources are taken from the module.
stand_in() {
	{
		comma=
		printf '{"Replace": {'
		for file in "$("${GO:-go}" env GOROOT)"/src/vendor/golang.org/x/net/idna/*.go; do
			from=
			[ "${file##*/}" != punycode.go ] || from=$PWD/third_party/idna/idna.go
			printf '%s"%s": "%s"' "$comma" "$file" "$from"
			comma=', '
		done
		[ -e vendor/modules.txt ] || stand_in_modules "$1"
		printf '}}\n'
	} >"$1/overlay.json"
}
stand_in_modules() {
	cp go.mod go.sum "$1/"
	printf 'replace %s => ./third_party/%s\n' github.com/gorilla/websocket websocket golang.org/x/net net \
		go.yaml.in/yaml/v3 yaml >>"$1/go.mod"
	yaml=$("${GO:-go}" list -f '{{.Dir}}' go.yaml.in/yaml/v3)
	for file in "$yaml"/*.go; do
		name=${file##*/} from=$file
		case $name in *_test.go) continue ;; esac
		if grep -q '^	"regexp"$' "$file"; then
			from=$1/$name
			sed 's,^	"regexp"$,	"go.yaml.in/yaml/v3/regexp",' "$file" >"$from"
		fi
		printf ', "%s": "%s"' "$PWD/third_party/yaml/$name" "$from"
	done
}

case $program in
agent | service | cloudsim) small=yes cgo=0 ;;
pkcs11) small= cgo=1 ;; # a vendor's library is loaded with dlopen, which needs libc
*) small= cgo=0 ;;
esac
# The garbage collector of Go 1.25: that of 1.26 is for machines with many cores, and 20 KB larger.
[ "$program" != agent ] || export GOEXPERIMENT=nogreenteagc
export GOOS=linux CGO_ENABLED=$cgo GOTOOLCHAIN=local GOFLAGS=-mod=readonly
if [ "$cgo" = 1 ]; then
	CC=$triplet-gcc
	command -v "$CC" >/dev/null || CC=gcc # the machine's own compiler has no triplet in its name everywhere
	# Go hashes the flags into the file: none may come from outside.
	unset CFLAGS CPPFLAGS CXXFLAGS CGO_CPPFLAGS CGO_LDFLAGS
	export CC CGO_CFLAGS='-O2 -D_FORTIFY_SOURCE=2 -fstack-protector-strong'
	LDFLAGS="$LDFLAGS -bindnow"
fi
# Not -buildvcs: a tarball has no git. The version is in -X main.release.
set -- -trimpath -buildvcs=false -ldflags "$LDFLAGS" -o "$out" "./cmd/$program"
# The one program that runs foreign C code lies at a random address, and its imports are read-only.
[ "$cgo" = 0 ] || set -- -buildmode=pie "$@"
if [ -n "$small" ]; then
	# shellcheck disable=SC2086 # GCFLAGS are several
	set -- -tags "$TAGS" $GCFLAGS "$@"
fi
# Where all modules are in the tree no other go.mod can be named: none of them has a stand-in, and the agent is 390 KB larger.
[ ! -e vendor/modules.txt ] || export GOFLAGS=-mod=vendor
if [ "$program" = agent ]; then
	tmp=$(mktemp -d)
	trap 'rm -rf "$tmp"' EXIT
	stand_in "$tmp"
	[ ! -e "$tmp/go.mod" ] || set -- -modfile="$tmp/go.mod" "$@"
	set -- -overlay="$tmp/overlay.json" "$@"
fi
"${GO:-go}" build "$@"
