package commands

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
)

// Version is release, with the commit behind it where release is one of development.
func Version(release string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && strings.HasSuffix(release, "-dev") {
				return release + "+" + s.Value[:min(12, len(s.Value))]
			}
		}
	}
	return release
}

// VersionOf is the command that prints the version of a program.
func VersionOf(program, version string) Command {
	return Command{Name: "version", About: "print the version", Run: func(_ context.Context, o *Options, out io.Writer) error {
		if o.JSON {
			return PrintJSON(out, map[string]string{"version": version, "go": runtime.Version(), "arch": runtime.GOARCH})
		}
		_, err := fmt.Fprintf(out, "%s %s (%s, linux/%s)\n", program, version, runtime.Version(), runtime.GOARCH)
		return err
	}}
}
