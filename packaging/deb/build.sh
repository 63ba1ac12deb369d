#!/bin/bash
# build.sh [ARCH...] builds the Debian packages into dist/deb/, and asks lintian. DEB_VERSION
# replaces the version, OUT the directory, LINTIAN=true spares the questions.
set -euo pipefail
cd "$(dirname "$0")/../.."
archs=${*:-amd64 arm64 armhf}
version=${DEB_VERSION:-$(packaging/deb/version.sh)}
export VERSION=${VERSION:-$(git describe --tags --always --dirty)}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
export LC_ALL=C.UTF-8 TZ=UTC
out=${OUT:-$PWD/dist/deb}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/devid-agent
mkdir "$tree"
# What git knows and has not ignored, as it lies here: no leftovers of other builds.
git ls-files -z --cached --others --exclude-standard |
	while IFS= read -r -d '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done |
	tar --null -T - -cf - | tar -xf - -C "$tree"
cp -r packaging/deb/debian "$tree/debian"
cat >"$tree/debian/changelog" <<END
devid-agent ($version) unstable; urgency=medium

  * Built from $VERSION; the history is in the project's git.

 -- devid-agent maintainers <devid-agent@users.noreply.github.com>  $(date -uR -d "@$SOURCE_DATE_EPOCH")
END
find "$tree" -exec touch --no-dereference -d "@$SOURCE_DATE_EPOCH" {} +

mkdir -p "$out"
rm -f "$out"/*.deb "$out"/SHA256SUMS
for arch in $archs; do
	if ! (cd "$tree" && dpkg-buildpackage --host-arch "$arch" --build=any --no-sign --no-check-builddeps) >"$work/$arch.log" 2>&1; then
		tail -n 40 "$work/$arch.log" >&2
		exit 1
	fi
done
cp "$work"/*.deb "$out/"

# Whatever lintian has to say is a failure: an override says why not. Its speller reads machine code, and finds words.
"${LINTIAN:-lintian}" --no-cfg --suppress-tags spelling-error-in-binary --pedantic --display-info --fail-on error,warning,info,pedantic --allow-root "$work"/*.changes
(cd "$out" && LC_ALL=C sha256sum -- *.deb >SHA256SUMS)
printf '%-52s %9s\n' package bytes
for deb in "$out"/*.deb; do printf '%-52s %9d\n' "${deb##*/}" "$(stat -c %s "$deb")"; done
