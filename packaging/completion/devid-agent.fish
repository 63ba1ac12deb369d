# fish completion for devid-agent: it asks the program itself, and so knows no less than the program does.
function __devid_agent_typed
    set -l typed (commandline -opc | string match -v -- '-*')
    string join ' ' $typed[2..-1]
end
function __devid_agent_commands
    set -l typed (__devid_agent_typed)
    test -n "$typed"; and set typed "$typed "
    devid-agent help 2>&1 | string match -rg "^  $typed([a-z0-9-]+)" | sort -u
end
function __devid_agent_flags
    devid-agent (__devid_agent_typed | string split -n ' ') --help 2>&1 | string match -rg '^  (-[a-z][a-z0-9-]*)' | string replace -r '^' -
end
complete -c devid-agent -f -a '(__devid_agent_commands)'
complete -c devid-agent -n 'string match -q -- "-*" (commandline -ct)' -a '(__devid_agent_flags)'
complete -c devid-agent -l config -r -F -d 'configuration file'
