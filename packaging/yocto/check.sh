#!/bin/bash
# check.sh [parse] [layer] [build] tries the layer with a real bitbake; without arguments, parse. It needs DEVID_OE_DIR, a
# directory with bitbake/ and openembedded-core/ of one release, and fetches neither.
#
#	parse   parse everything, and show what the recipes have become
#	layer   yocto-check-layer: what the Yocto Project asks of every layer (10 minutes and more)
#	build   build the agent and its helper, and look for keys in the packages
#
# DEVID_OE_CONF is a file that is appended to local.conf, DEVID_OE_LAYERS are further layers, DEVID_OE_WORK keeps the build
# directory for the next time. bitbake does not run as root: DEVID_OE_USER is who it is then.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ ! -d "${DEVID_OE_DIR-}/bitbake" ] || [ ! -d "$DEVID_OE_DIR/openembedded-core" ]; then
	echo "yocto-check did not run: set DEVID_OE_DIR to a directory with bitbake/ and openembedded-core/"
	[ -z "${DEVID_OE_DIR-}" ] # that the variable names no such directory is a mistake
	exit
fi
oe=$(realpath "$DEVID_OE_DIR")
work=${DEVID_OE_WORK:-$(mktemp -d)}
[ -n "${DEVID_OE_WORK-}" ] || trap 'rm -rf "$work"' EXIT
mkdir -p "$work"
work=$(realpath "$work")

# The checkout as it lies here, committed in a repository of its own, with the tarball that it would be released as.
tree=$work/devid-agent
rm -rf "$tree"
mkdir -p "$tree"
packaging/yocto/copy.sh "$tree"
git -C "$tree" init -q -b main
git -C "$tree" add -A
git -C "$tree" -c user.name=check -c user.email=check@localhost commit -q -m 'as it lies here'
OUT=$tree/dist/devid-agent-vendor.tar.xz packaging/yocto/vendor.sh
layer=$tree/packaging/yocto/meta-devid-agent

mkdir -p "$work/build/conf"
cat >"$work/build/conf/bblayers.conf" <<END
BBPATH = "\${TOPDIR}"
BBFILES = ""
BBLAYERS = "$oe/openembedded-core/meta $layer ${DEVID_OE_LAYERS-}"
END
cat >"$work/build/conf/local.conf" <<END
MACHINE = "qemuarm64"
INIT_MANAGER = "systemd"
DISTRO_FEATURES:append = " systemd overlayfs"
DEVID_TREE = "$tree"
DEVID_STATE_DIR ?= "/data/devid-agent"
CONF_VERSION = "2"
BB_DISKMON_DIRS = ""
PACKAGE_CLASSES = "package_deb"
END
[ -z "${DEVID_OE_CONF-}" ] || cat "$DEVID_OE_CONF" >>"$work/build/conf/local.conf"

as=()
if [ "$(id -u)" = 0 ]; then
	: "${DEVID_OE_USER:?is who bitbake runs as, since it must not be root}"
	chown -R "$DEVID_OE_USER:" "$work"
	as=(setpriv "--reuid=$DEVID_OE_USER" "--regid=$(id -g "$DEVID_OE_USER")" --clear-groups)
fi

# inside COMMAND...: in the build environment, as whoever may be there.
inside() {
	"${as[@]}" env -i HOME="$work" PATH="$PATH" LANG=en_US.UTF-8 LC_ALL=en_US.UTF-8 USER="${DEVID_OE_USER:-$(id -un)}" \
		BITBAKEDIR="$oe/bitbake" bash -c '. "$0/oe-init-build-env" "$1" "$2" >/dev/null && shift 2 && "$@"' \
		"$oe/openembedded-core" "$work/build" "$oe/bitbake" "$@"
}

parse() {
	inside bitbake -p
	for recipe in devid-agent devid-pkcs11; do
		inside bitbake -e "$recipe" >"$work/$recipe.env"
		grep -E '^(PV|SRC_URI|LICENSE|GOFLAGS|GOPROXY|CGO_ENABLED|USERADD_PARAM[^=]*|export GO[A-Z]*)=' "$work/$recipe.env" | cut -c -400
	done
}

layer() {
	# It compares what is with and without the layer, so the configuration must not name it.
	"${as[@]}" sed -i "s,$layer,," "$work/build/conf/bblayers.conf"
	inside yocto-check-layer --no-auto-dependency "$layer"
}

build() {
	inside bitbake devid-agent devid-pkcs11
	# shellcheck disable=SC2046 # names without spaces
	"$layer/scripts/no-keys.sh" $(find "$work/build" -path '*/deploy/deb/*' -name 'devid-*.deb')
}

for what in ${*:-parse}; do
	echo "== $what, $(sed -n 's/^LAYERSERIES_COMPAT_core = //p' "$oe/openembedded-core/meta/conf/layer.conf")"
	"$what"
done
