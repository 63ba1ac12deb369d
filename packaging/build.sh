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
# Pages of 32-bit ARM are of 4 KB, so segments need not be rounded to 64.
[ "$GOARCH" != arm ] || LDFLAGS="${LDFLAGS-} -R 4096"
[ -z "${UNSTRIPPED-}" ] || LDFLAGS=$(printf %s "$LDFLAGS" | sed 's/-s -w//')

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
exec "${GO:-go}" build "$@"
