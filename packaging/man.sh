#!/bin/sh
# man.sh PROGRAM prints the manual page of a program: what packaging/man says about it, and what the program says about
# itself, so that no command and no flag is missing from the page.
#
#	man.sh dist/host/devid-agent <packaging/man/devid-agent.8 >devid-agent.8
#
# In the page, ".COMMANDS" is replaced by the commands that PROGRAM lists, each with its flags; ".FLAGS" by the flags of
# PROGRAM itself; ".FILE NAME" by that file. @DATE@ and @VERSION@ come from the environment.
set -eu
program=$1

# roff escapes text: backslashes, hyphens as minus signs, and lines that would be requests.
roff() { sed -e 's/\\/\\e/g' -e 's/-/\\-/g' -e "s/^\([.']\)/\\\\\&\1/"; }

# flags turns what package flag prints into a list: "  -name type" and, tabbed, what it means. The two that each command
# has are told once.
flags() {
	roff | awk '
		/^  \\-(config|json)( |$)/ && common { skip = 1; next }
		/^  \\-/ { skip = 0; sub(/^  /, ""); rest = ""
			if (i = index($0, "\t")) { rest = substr($0, i + 1); $0 = substr($0, 1, i - 1) }
			split($0, w, " "); printf ".TP\n\\fB%s\\fR", w[1]; for (n = 2; n in w; n++) printf " \\fI%s\\fR", w[n]; printf "\n"
			if (rest != "") print rest; next }
		/^    \t/ && !skip { sub(/^    \t/, ""); print }' common="${1-}"
}

commands() {
	"$program" help 2>&1 | sed -n 's/^  \([a-z]\)/\1/p' | while IFS= read -r line; do
		words=$(printf '%s' "$line" | sed 's/  .*//')
		about=$(printf '%s' "$line" | sed 's/.*  //')
		name=$(printf '%s' "$words" | sed 's/ *[[A-Z].*//')
		printf '.SS "%s"\n%s.\n' "$(printf '%s' "$words" | roff)" "$(printf '%s' "$about" | roff)"
		# shellcheck disable=SC2086 # a command may be of two words
		"$program" $name --help 2>&1 </dev/null | flags common
	done
}

while IFS= read -r line; do
	case $line in
	.COMMANDS) commands ;;
	.FLAGS) "$program" --help 2>&1 | flags ;;
	".FILE "*)
		printf '.nf\n'
		roff <"${line#.FILE }"
		printf '.fi\n'
		;;
	*) printf '%s\n' "$line" | sed -e "s/@DATE@/$DATE/" -e "s/@VERSION@/$VERSION/" ;;
	esac
done
