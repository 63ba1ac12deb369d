# bash completion for devid-agent: it asks the program itself, and so knows no less than the program does.
_devid_agent() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local commands words typed=
	case ${prev#-} in
	-config | config | -out | out | -in | in | -file | file)
		COMPREPLY=($(compgen -f -- "$cur"))
		[[ ${COMP_WORDS[1]} == config && $COMP_CWORD == 2 ]] || return
		;;
	esac
	commands=$(devid-agent help 2>&1 | sed -n 's/^  \([a-z][a-z0-9]*\( [a-z][a-z0-9-]*\)\?\).*/\1/p')
	for words in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		[[ $words == -* ]] || typed+="$words "
	done
	if [[ $cur == -* ]]; then
		# shellcheck disable=SC2086 # a command may be of two words
		words=$(devid-agent $typed --help 2>&1 | sed -n 's/^  \(-[a-z][a-z0-9-]*\).*/-\1/p')
	else
		words=$(sed -n "s/^${typed}\([a-z0-9-]*\).*/\1/p" <<<"$commands" | sort -u)
	fi
	COMPREPLY=($(compgen -W "$words" -- "$cur"))
	# After a whole command come its arguments, which are files where they are not names.
	[[ ${#COMPREPLY[@]} -gt 0 || $cur == -* ]] || COMPREPLY=($(compgen -f -- "$cur"))
}
complete -o filenames -F _devid_agent devid-agent
