#!/bin/sh
# libc.sh PROGRAM prints the substitution variable libc:Depends for a program that is linked with libc alone.
set -eu
other=$(readelf -dW "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -vE '^(libc\.so\.6|libpthread\.so\.0|libdl\.so\.2|ld-linux.*)$' || true)
[ -z "$other" ] || { echo "libc.sh: $1 needs $other, too" >&2; exit 1; }
newest=$(readelf -VW "$1" | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -uV | tail -n 1)
# libc6 is the package's name on the three architectures that are built for.
echo "libc:Depends=libc6 (>= $newest)"
