#!/bin/sh
# no-keys.sh DIRECTORY|PACKAGE... fails where there is something of one device: a private key, a key blob of a TPM, an
# identity, a machine-id. Two machines with the same image would be the same device. DEVID_KEYS_ALLOWED is an extended
# regular expression of paths, relative to the directory or package, that may hold a key.
set -eu
# RFC 7468 labels, OpenSSH's and TSS2's: all end in PRIVATE KEY. A program that reads keys has the words without an end.
mark='^-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----$'
allowed=${DEVID_KEYS_ALLOWED:-^$}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

look() { # look ROOT NAME
	{
		(cd "$1" && LC_ALL=C grep -rlE --binary-files=without-match "$mark" . 2>/dev/null) || true
		(cd "$1" && find . -type f \( -name '*.tss2.pem' -o -path '*/devid-agent/identity/*' -o -path '*/devid-agent/spool/*' \
			-o -name 'ssh_host_*_key' -o -name 'dropbear_*_host_key' -o -name '*.p12' -o -name '*.pfx' \))
		if [ -s "$1/etc/machine-id" ] && ! grep -qx uninitialized "$1/etc/machine-id"; then echo ./etc/machine-id; fi
	} | sed 's,^\./,,' | grep -vE "$allowed" | sort -u | sed "s,^,$2: ," >>"$work/found" || true
}

for what; do
	if [ -d "$what" ]; then
		look "$what" "$what"
		continue
	fi
	mkdir "$work/root"
	case $what in
	*.deb | *.ipk) dpkg-deb -x "$what" "$work/root" ;;
	*.rpm) rpm2cpio "$what" | (cd "$work/root" && cpio -id --quiet) ;;
	*.tar*) tar -xf "$what" -C "$work/root" ;;
	*) echo "no-keys.sh: $what is neither a directory nor a package" >&2 && exit 2 ;;
	esac
	look "$work/root" "$what"
	rm -rf "$work/root"
done
if [ -s "$work/found" ]; then
	echo "of one device:" >&2
	cat "$work/found" >&2
	exit 1
fi
echo "nothing of one device in $# $([ $# = 1 ] && echo place || echo places)"
