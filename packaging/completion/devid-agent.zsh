#compdef devid-agent
# zsh completion for devid-agent: it asks the program itself, and so knows no less than the program does.
local -a commands flags
local typed=${(j: :)${(@)words[2,CURRENT-1]:#-*}}
[[ -z $typed ]] || typed+=' '
if [[ $words[CURRENT] == -* ]]; then
	flags=(${(f)"$(devid-agent ${=typed} --help 2>&1 | sed -n 's/^  \(-[a-z][a-z0-9-]*\).*/-\1/p')"})
	compadd -- $flags
	return
fi
commands=(${(fu)"$(devid-agent help 2>&1 | sed -n "s/^  ${typed}\([a-z0-9-]*\).*/\1/p")"})
if (( $#commands )); then compadd -- $commands; else _files; fi
