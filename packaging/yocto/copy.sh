#!/bin/bash
# copy.sh DIRECTORY copies what git knows and has not ignored, as it lies here.
set -euo pipefail
to=$(realpath "$1")
cd "$(dirname "$0")/../.."
git ls-files -z --cached --others --exclude-standard |
	while IFS= read -r -d '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done |
	tar --null -T - -cf - | tar -xf - -C "$to"
