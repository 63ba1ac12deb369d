#!/bin/bash
# pin.sh VERSION [REVISION] makes REVISION (default: the tag vVERSION) the release that users of the layer get: its commit,
# the modules that it had, and the checksum of its tarball. Commit what it wrote, and put the tarball into the release.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=${1:?is the version, as 0.1.0}
revision=$(git rev-parse --verify "${2:-v$version}^{commit}")
recipes=packaging/yocto/meta-devid-agent/recipes-devid/devid-agent
tarball=dist/devid-agent-$version-vendor.tar.xz
sum=$(OUT=$PWD/$tarball packaging/yocto/vendor.sh "$revision" | cut -d ' ' -f 1)
mkdir -p "$recipes/release"
for file in $(git ls-tree --name-only "$revision" "$recipes/" | grep -E 'devid-(agent|pkcs11)-(go-mods|licenses|licenses-vendor)\.inc$'); do
	git show "$revision:$file" >"$recipes/release/${file##*/}"
done
[ -e "$recipes/release/devid-agent-go-mods.inc" ] || { echo "pin.sh: $revision is older than this layer" >&2 && exit 1; }
cat >"$recipes/devid-release.inc" <<END
# The release that users get. packaging/yocto/pin.sh writes this file and release/, after the commit that it names: no
# commit can name itself.
DEVID_VERSION = "$version"
DEVID_SRCREV = "$revision"
DEVID_TARBALL_SHA256 = "$sum"
END
echo "pinned $version at $revision; commit $recipes, and publish $tarball"
