#!/bin/sh
# version.sh prints the Debian version of what git has checked out: 1.2.3 at the tag v1.2.3, 1.2.3+git4.abcdef0 four
# commits later, 0.0~git120.abcdef0 before the first tag; "+dirty" where something is not committed.
set -eu
dirty=
[ -z "$(git status --porcelain --untracked-files=no)" ] || dirty=+dirty
if described=$(git describe --tags --match 'v[0-9]*' 2>/dev/null); then
	described=$(echo "${described#v}" | sed -E 's/-([0-9]+)-g([0-9a-f]+)$/+git\1.\2/; s/-(rc|beta|alpha)/~\1/')
else
	described=0.0~git$(git rev-list --count HEAD).$(git rev-parse --short=7 HEAD)
fi
echo "$described$dirty"
