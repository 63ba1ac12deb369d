#!/bin/bash
# build.sh CACHE makes a Debian gateway for emulation in the directory CACHE: vmlinuz, initrd and base.img, from Debian's own
# arm64 packages. They are unpacked and not installed: nothing foreign runs, nothing is mounted, and no chroot is entered.
# Where CACHE has them already, made by this same script, nothing is done.
set -euo pipefail
cd "$(dirname "$0")"
export PATH=$PATH:/usr/sbin:/sbin
cache=$(mkdir -p "$1" && cd "$1" && pwd)
suite=bookworm
packages="base-files base-passwd bash coreutils dash dbus debianutils diffutils dpkg findutils grep hostname init-system-helpers libc-bin login mount passwd
	perl-base polkitd sed systemd-sysv tpm-udev udev usr-is-merged util-linux"

made_by=$(tar -cf - --sort=name --mtime=@0 . | sha256sum)
[ "$(cat "$cache/made-by" 2>/dev/null)" != "$made_by" ] || exit 0
[ "$(id -u)" = 0 ] || { echo "build.sh: the files of the image belong to root, so root makes it" >&2; exit 1; }
rm -f "$cache/made-by"

# An apt of its own, for arm64: the machine's own packages and lists are neither read nor changed.
mkdir -p "$cache/apt/lists/partial" "$cache/apt/archives/partial"
arm() {
	"$1" -qq -o Dir::State::lists="$cache/apt/lists" -o Dir::State::status=/dev/null -o Dir::Cache="$cache/apt" -o Debug::NoLocking=1 \
		-o Dir::Etc::sourcelist="$cache/apt/sources.list" -o Dir::Etc::sourceparts=- -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false \
		-o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Install-Recommends=false -o APT::Sandbox::User=root "${@:2}"
}
key=/usr/share/keyrings/debian-archive-keyring.gpg
# The mirror that this machine uses itself.
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | sed -nE 's|/debian/?$||p' | head -n 1)}
[ -n "$mirror" ] || { echo "set DEBIAN_MIRROR to the place below which debian/ and debian-security/ are" >&2; exit 1; }
printf 'deb [signed-by=%s] %s/debian %s main\ndeb [signed-by=%s] %s/debian-security %s-security main\n' \
	$key "$mirror" $suite $key "$mirror" $suite >"$cache/apt/sources.list"
arm apt-get update
kernel=$(arm apt-cache depends linux-image-arm64 | sed -n 's/.*Depends: \(linux-image-[0-9].*-arm64\)$/\1/p' | head -n 1)
rm -f "$cache"/apt/archives/*.deb
# shellcheck disable=SC2086 # packages are several
arm apt-get install --yes --download-only $packages
(mkdir -p "$cache/apart" && cd "$cache/apart" && rm -f -- *.deb && arm apt-get download "$kernel" busybox-static)

# The root, with /usr merged as Debian has it, and dpkg's records of what is there.
root=$cache/root
rm -rf --one-file-system "$root"
mkdir -p "$root"/usr/{bin,sbin,lib} "$root"/{dev,proc,sys,run,tmp,media} "$root"/var/lib/{dpkg/info,devid-agent}
for dir in bin sbin lib; do ln -s usr/$dir "$root/$dir"; done
ln -s /run "$root/var/run" # as base-files makes it: GLib looks for the bus there
for deb in "$cache"/apt/archives/*.deb; do
	dpkg-deb --fsys-tarfile "$deb" | tar -xf - -C "$root" --keep-directory-symlink --exclude='./usr/share/doc/*' --exclude='./usr/share/locale/*' --exclude='./usr/share/man/*'
	name=$(dpkg-deb -f "$deb" Package)
	dpkg-deb --fsys-tarfile "$deb" | tar -tf - | sed 's,^\.,,; s,/$,,; s,^$,/.,' >"$root/var/lib/dpkg/info/$name.list"
	dpkg-deb -f "$deb" | sed '/^Package:/a Status: install ok installed'
	echo
done >"$root/var/lib/dpkg/status"
touch "$root/var/lib/dpkg/available"
cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
systemd-sysusers --root="$root"
printf 'tss:x:990:\n' >>"$root/etc/group"
printf 'tss:x:990:990:TPM:/var/lib/tpm:/usr/sbin/nologin\n' >>"$root/etc/passwd"
: >"$root/etc/machine-id"
echo gateway >"$root/etc/hostname"
cp -r root/. "$root/"
wants=$root/etc/systemd/system/multi-user.target.wants
mkdir -p "$wants" "$root/etc/systemd/system/sysinit.target.wants"
ln -sf ../board-tpm.service "$root/etc/systemd/system/sysinit.target.wants/"
for unit in board-hands board-log board-press; do ln -sf "../$unit.service" "$wants/"; done
ln -sf /lib/systemd/system/systemd-networkd.service "$wants/"
for unit in getty@tty1.service serial-getty@ttyAMA0.service apt-daily.timer dpkg-db-backup.timer \
	e2scrub_all.timer fstrim.timer systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-timesyncd.service \
	systemd-hwdb-update.service systemd-pcrphase.service systemd-journal-catalog-update.service ldconfig.service getty.target \
	dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount modprobe@.service systemd-journal-flush.service \
	systemd-user-sessions.service systemd-sysctl.service systemd-modules-load.service proc-sys-fs-binfmt_misc.automount; do
	ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
# logind and polkit come when somebody asks them, over D-Bus.
rm -f "$root/lib/systemd/system/multi-user.target.wants/systemd-logind.service"
# ldconfig of another architecture cannot run here: the default paths are all that is needed.
rm -f "$root/etc/ld.so.cache"

# The kernel, and the few of its modules that are needed before there is a root: the rest of the board needs no more.
tree=$cache/kernel
rm -rf --one-file-system "$tree"
mkdir -p "$tree/initrd/modules" "$tree/initrd/bin" "$tree/initrd"/{dev,proc,sys,root}
dpkg-deb -x "$cache"/apart/linux-image-*.deb "$tree"
dpkg-deb -x "$cache"/apart/busybox-static_*.deb "$tree"
release=$(ls "$tree/lib/modules")
depmod -b "$tree" "$release"
for module in virtio_pci virtio_blk virtio_net virtio_console virtio_rng ext4 overlay tpm_vtpm_proxy; do
	modprobe -d "$tree" -S "$release" --show-depends $module | sed -n 's/^insmod \([^ ]*\).*/\1/p'
done | awk '!seen[$0]++' | while read -r file; do
	cp "$file" "$tree/initrd/modules/" && echo "${file##*/}"
done >"$tree/initrd/modules/order"
cp "$tree/bin/busybox" "$tree/initrd/bin/"
install -m 0755 init "$tree/initrd/init"
(cd "$tree/initrd" && find . | cpio --quiet --owner=0:0 -o -H newc | gzip -1) >"$cache/initrd"
cp "$tree"/boot/vmlinuz-* "$cache/vmlinuz"
rm -rf --one-file-system "$tree"

rm -f "$cache/base.img"
mke2fs -q -t ext4 -L gateway -m 1 -d "$root" "$cache/base.img" 640M
rm -rf --one-file-system "$root"
echo "$made_by" >"$cache/made-by"
