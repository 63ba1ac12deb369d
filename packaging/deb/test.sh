#!/bin/bash
# test.sh lives the packages through their life in a chroot of Debian's own packages: install, upgrade from the release
# before, downgrade, remove, install again, purge. The agent in it has a real identity, its key in a software TPM, from a
# simulated cloud. It needs root, and downloads Debian's base system once, into DEB_TEST_CACHE.
#
#	test.sh [NEW_DEBS [OLD_DEBS]]    directories; built where they are not named
set -euo pipefail
cd "$(dirname "$0")/../.."
[ "$(id -u)" = 0 ] || { echo "test.sh: a chroot needs root" >&2; exit 1; }
.ci/need mmdebstrap:mmdebstrap swtpm:swtpm
if [ -z "${INSIDE-}" ]; then
	# Mounts are gone with this process, and process 1 is this script: no systemd of the machine is taken for ours.
	exec env INSIDE=1 unshare --mount --pid --fork --mount-proc "$0" "$@"
fi
cache=${DEB_TEST_CACHE:-/var/cache/devid-deb-test}
work=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
root=$work/root
trap clean EXIT
# Nothing of the machine is ever mounted into the chroot, and nothing that is still mounted is deleted.
clean() {
	for mount in run dev proc; do
		if mountpoint -q "$root/$mount"; then umount -l "$root/$mount" || return; fi
	done
	rm -rf --one-file-system "$work"
}

fail() { echo "FAIL: $*" >&2; exit 1; }
told() { echo "ok   $*"; }
in_root() { chroot "$root" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@"; }
as_agent() { in_root runuser -u devid-agent -- timeout 60 "$@"; }
there() { [ -e "$root$1" ] || [ -L "$root$1" ] || fail "$2: $1 is not there"; }
gone() { [ ! -e "$root$1" ] && [ ! -L "$root$1" ] || fail "$2: $1 is still there"; }

# packages DIRECTORY VERSION: those of this tree, under a version of our choice.
packages() {
	echo "building $2"
	LINTIAN=true OUT=$1 DEB_VERSION=$2 VERSION=$2 packaging/deb/build.sh "$(dpkg --print-architecture)" >/dev/null
}

base_system() {
	mkdir -p "$cache" "$root"
	[ -e "$cache/base.tar" ] || mmdebstrap --quiet --variant=minbase --include=systemd,init-system-helpers,apt \
		--aptopt='APT::Install-Recommends "false"' --dpkgopt='path-exclude=/usr/share/locale/*' bookworm "$cache/base.tar"
	tar -xf "$cache/base.tar" -C "$root"
	mount -t proc proc "$root/proc"
	mount -t tmpfs tmpfs "$root/run"
	mount -t tmpfs -o mode=755 tmpfs "$root/dev"
	mknod -m 666 "$root/dev/null" c 1 3
	mknod -m 666 "$root/dev/zero" c 1 5
	mknod -m 666 "$root/dev/urandom" c 1 9
	mknod -m 666 "$root/dev/random" c 1 8
	ln -s /proc/self/fd "$root/dev/fd"
	cp /etc/resolv.conf "$root/etc/resolv.conf"
	cp /etc/apt/apt.conf.d/*proxy* "$root/etc/apt/apt.conf.d/" 2>/dev/null || true
}

# The world outside: a TPM and a cloud, reached over the loopback interface that the chroot shares.
world() {
	mkdir -p "$work/tpm" "$work/cloud"
	port=$((20000 + RANDOM % 20000))
	swtpm socket --tpm2 --tpmstate "dir=$work/tpm" --server "type=tcp,bindaddr=127.0.0.1,port=$port" \
		--ctrl "type=tcp,bindaddr=127.0.0.1,port=$((port + 1))" --flags not-need-init,startup-clear --daemon
	CGO_ENABLED=0 go build -o "$work/" ./cmd/cloudsim
	"$work/cloudsim" -dir "$work/cloud" -device gateway-deb >"$work/cloud/agent.yaml" 2>"$work/cloud.log" &
	for _ in $(seq 100); do
		grep -q '^hub:' "$work/cloud/agent.yaml" && return
		sleep 0.1
	done
	fail "no cloud: $(cat "$work/cloud.log")"
}

# configure fills in the installed file, as a person does.
configure() {
	sed "s|$work/cloud/|/etc/devid-agent/|g" "$work/cloud/agent.yaml" >"$root/etc/devid-agent/agent.yaml"
	printf 'keys: {tpm: "swtpm:host=127.0.0.1,port=%s"}\ntelemetry: {sensors: {enabled: false}}\nlog: {level: error}\n' "$port" >>"$root/etc/devid-agent/agent.yaml"
	cp "$work"/cloud/*.pem "$work/cloud/bootstrap.key" "$root/etc/devid-agent/"
	in_root chown devid-agent: /etc/devid-agent/bootstrap.key
	as_agent devid-agent config check >/dev/null
}

# identity is who the agent is, by its own account; it asks the hardware.
identity() { as_agent devid-agent enroll | sed 's/^enrolled: //'; }
same() { [ "$(identity)" = "$who" ] || fail "$1: the identity was $who and is $(identity)"; }
renew() {
	as_agent devid-agent renew >/dev/null
	local now
	now=$(identity)
	[ "$now" != "$who" ] || fail "$1: no renewal"
	who=$now
}
# file SET PACKAGE is the package's file, as the chroot sees it.
file() { (cd "$root" && set -- "debs/$1/$2"_*_"$(dpkg --print-architecture)".deb && echo "/$1"); }
install() { in_root dpkg --force-confold -i "$(file "$1" devid-agent)" >"$work/dpkg.log" 2>&1 || fail "install $1: $(cat "$work/dpkg.log")"; }

installed() {
	install old
	for path in /usr/bin/devid-agent /etc/devid-agent/agent.yaml /lib/systemd/system/devid-agent.service \
		/etc/systemd/system/multi-user.target.wants/devid-agent.service /usr/share/man/man8/devid-agent.8.gz \
		/usr/share/bash-completion/completions/devid-agent /etc/credstore.encrypted; do there $path "after the installation"; done
	grep -q 'fill in /etc/devid-agent/agent.yaml' "$work/dpkg.log" || fail "the installation does not say what comes next"
	[ "$(in_root stat -c '%U:%G %a' /var/lib/devid-agent)" = "devid-agent:devid-agent 700" ] || fail "state directory: $(in_root stat -c '%U:%G %a' /var/lib/devid-agent)"
	in_root devid-agent version | grep -q '^devid-agent [0-9v]' || fail "the agent does not know its version: $(in_root devid-agent version)"
	in_root id -nG devid-agent | grep -qw tss && fail "a member of tss where nobody has made that group"
	told "installs on a machine without TPM; the user and its directories are there, the unit is enabled"
}

inert() {
	local code=0
	as_agent devid-agent run 2>"$work/inert" || code=$?
	[ $code = 78 ] || fail "unedited, the service ends with $code: $(cat "$work/inert")"
	grep -q 'device.id: missing' "$work/inert" || fail "it does not say what to do: $(cat "$work/inert")"
	told "unedited, the service says what to fill in and ends with 78, which systemd does not restart"
}

tss() {
	in_root apt-get update -qq >/dev/null
	in_root apt-get install -y -qq --no-install-recommends tpm-udev >"$work/apt.log" 2>&1 || fail "$(cat "$work/apt.log")"
	in_root id -nG devid-agent | grep -qw tss || fail "not a member of tss after tpm-udev came: $(cat "$work/apt.log")"
	told "tpm-udev came later, and the user became a member of tss"
}

others() {
	install new
	in_root dpkg -i "$(file new devid-cloudsim)" "$(file new devid-agent-pkcs11)" >"$work/dpkg.log" 2>&1 || fail "$(cat "$work/dpkg.log")"
	in_root devid-cloudsim --help >/dev/null 2>&1 || fail "devid-cloudsim does not start"
	in_root sh -c '/usr/libexec/devid-pkcs11 </dev/null' >"$work/helper" 2>&1 || true
	grep -qi 'devid-agent\|socket\|descriptor' "$work/helper" || fail "devid-pkcs11: $(cat "$work/helper")"
	if [ -e "$root$(file new devid-station)" ]; then
		in_root dpkg -i "$(file new devid-station)" >/dev/null || fail "devid-station cannot be installed"
		in_root devid-station --help >/dev/null 2>&1 || fail "devid-station does not start"
		in_root dpkg -P devid-station >/dev/null
	fi
	in_root dpkg -P devid-agent-pkcs11 devid-cloudsim >/dev/null
	told "the other packages install, and their programs start"
}

generator() {
	local units=$work/units g=/lib/systemd/system-generators/devid-agent-tpm-generator
	mkdir -p "$units" "$work/none" "$work/acpi/sys/firmware/acpi/tables" "$work/dt/sys/firmware/devicetree/base/soc/spi@1/tpm@0"
	touch "$work/acpi/sys/firmware/acpi/tables/TPM2"
	for machine in acpi dt; do
		DEVID_ROOT=$work/$machine "$root$g" "$units" "$units" "$units"
		grep -qx 'Wants=dev-tpmrm0.device' "$units/devid-agent.service.d/10-tpm.conf" || fail "a machine with a TPM ($machine) does not wait for it"
		rm -r "$units/devid-agent.service.d"
	done
	DEVID_ROOT=$work/none "$root$g" "$units" "$units" "$units"
	[ -z "$(ls "$units")" ] || fail "a machine without a TPM waits for one"
	told "a machine whose firmware names a TPM waits for its device, and no other does"
}

removed() {
	in_root dpkg -r devid-agent >"$work/dpkg.log" 2>&1 || fail "$(cat "$work/dpkg.log")"
	gone /usr/bin/devid-agent "after the removal"
	gone /lib/systemd/system/devid-agent.service "after the removal"
	there /etc/devid-agent/agent.yaml "after the removal"
	there /var/lib/devid-agent/identity "after the removal"
	told "removal leaves configuration, state and identity"
}

purged() {
	in_root dpkg -r devid-agent >/dev/null 2>&1
	in_root dpkg -P devid-agent >"$work/dpkg.log" 2>&1 || fail "$(cat "$work/dpkg.log")"
	gone /var/lib/devid-agent "after the purge"
	gone /etc/devid-agent/agent.yaml "after the purge"
	there /etc/devid-agent/bootstrap.key "what a person put there, after the purge"
	grep -q 'device-g' "$work/dpkg.log" || fail "the purge does not name the keys: $(cat "$work/dpkg.log")"
	grep -q 'tpm2_evictcontrol' "$work/dpkg.log" || fail "the purge does not say what may remain: $(cat "$work/dpkg.log")"
	left=$(in_root find / -xdev \( -path /proc -o -path /sys -o -path /debs -o -path /etc/devid-agent -o -path /usr/share/devid \) -prune -o -name '*devid*' -print)
	[ -z "$left" ] || fail "after the purge there is still: $left"
	told "purge removes all but what a person put there, and says which keys the hardware held:"
	sed -n '/^devid-agent: /,$p' "$work/dpkg.log" | grep -v '^dpkg\|^Purging' | sed 's/^/       | /'
}

new=${1:-} old=${2:-}
[ -n "$new" ] || { new=$work/new; packages "$new" "$(packaging/deb/version.sh)"; }
if [ -z "$old" ]; then
	old=$work/old
	before=$(git describe --tags --abbrev=0 --match 'v[0-9]*' HEAD^ 2>/dev/null || true)
	if [ -n "$before" ]; then
		git clone --quiet --branch "$before" . "$work/before"
		(cd "$work/before" && packages "$old" "${before#v}")
	else
		packages "$old" 0.0~before # no release yet: these sources, under a lower version
	fi
fi
base_system
mkdir -p "$root/debs"
cp -r "$new" "$root/debs/new"
cp -r "$old" "$root/debs/old"
world

installed
inert
tss
generator
configure
who=$(identity)
told "enrolled: $who"
install new
same "after the upgrade"
grep -q gateway-deb "$root/etc/devid-agent/agent.yaml" || fail "the upgrade has changed the configuration"
told "upgrade keeps the identity and the configuration"
renew "after the upgrade"
install old
same "after the downgrade"
renew "after the downgrade"
told "downgrade reads the state of the newer release, and renews with it"
others
removed
install new
same "after the removal"
told "installed again, it is the same device: $who"
purged
packaging/boot/test.sh "$root" "$work"
