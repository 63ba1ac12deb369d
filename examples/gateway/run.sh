#!/bin/bash
# run.sh [full] is what make gateway and make gateway-full do. GATEWAY_CACHE keeps the image between runs, GATEWAY_DEB names a
# package to install instead of the one that is built.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PATH=$PATH:/usr/sbin:/sbin
cache=${GATEWAY_CACHE:-/var/cache/devid-gateway}
out=$PWD/dist/gateway
mkdir -p "$out"

echo "the image of the board"
examples/gateway/image/build.sh "$cache"

# package DIRECTORY VERSION
package() {
	LINTIAN=true OUT=$1 DEB_VERSION=$2 VERSION=$2 packaging/deb/build.sh arm64 >/dev/null &&
	echo "$1/devid-agent_$2_arm64.deb"
}
version=$(packaging/deb/version.sh)
echo "the package, for arm64"
deb=${GATEWAY_DEB:-$(package "$out" "$version")}
set -- "${1-}"
if [ "$1" = full ]; then
	echo "the same, as a newer version"
	newer=$(package "$out/newer" "$version+newer")
	set -- -full -newer "$newer" -numbers "$out/numbers.json" -limit 40m
else
	set --
fi
CGO_ENABLED=0 GOARCH=arm64 "${GO:-go}" build -trimpath -ldflags '-s -w' -o bin/gateway-board ./examples/gateway/board
CGO_ENABLED=0 "${GO:-go}" build -o bin/gateway ./examples/gateway
exec bin/gateway -cache "$cache" -deb "$deb" "$@"
