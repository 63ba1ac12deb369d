package main

import (
	"context"
	"io"

	"github.com/devid-agent/devid-agent/internal/commands"
)

// commandLine is the table of all commands, for one command line.
func commandLine() commands.Program {
	all := []commands.Command{
		{Name: "run", About: "be the agent: enroll, stream telemetry, renew, until stopped", Run: runCommand},
		{Name: "enroll", About: "get the first identity now, prove it to the hub, and stop", Run: enrollCommand},
		{Name: "renew", About: "get a fresh certificate now, also while the agent runs", Run: renewCommand},
		{Name: "status", About: "what the running agent is doing", Run: quick(statusCommand)},
		{Name: "check", About: "look at everything the agent needs, and say what to do about it", Run: checkCommand},
		supportCommandLine(),
		{Name: "config check", About: "read the configuration and list all mistakes", Run: quick(configCheckCommand)},
	}
	all = append(append(append(all, handCommands()...), keyCommands()...), attestCommands()...)
	all = append(all,
		commands.Command{Name: "service", Takes: "ACTION", About: "install, uninstall, start, stop or status: the agent as a service, where no package made it one", Run: serviceCommand},
		commands.VersionOf(programName, version()))
	return commands.Program{Name: programName, Config: "/etc/devid-agent/agent.yaml",
		Commands: commands.InJSON(all, func(t commands.Trouble) any { return outcome{Trouble: &t} })}
}

// quick is a command that is over before anybody could stop it.
func quick(f func(*commands.Options, io.Writer) error) func(context.Context, *commands.Options, io.Writer) error {
	return func(_ context.Context, o *commands.Options, out io.Writer) error { return f(o, out) }
}
