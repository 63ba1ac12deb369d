package main

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// What the twin can set, itself or below it.
const (
	levelPath     = "log.level"
	telemetryPath = "telemetry"
)

// asked reports whether the cloud may ask anything.
func (c *Config) asked() bool {
	return len(c.Remote.Change) > 0 || len(c.Remote.Methods) > 0 || c.Remote.Messages
}

// checkRemote refuses paths that would silently allow nothing.
func (d *decoder) checkRemote(c *Config) {
	var known []string
	walk(reflect.TypeFor[Config](), "", func(field string, _ key) {
		if !strings.ContainsRune(field, '[') { // a list changes as a whole
			known = append(known, field)
		}
	})
	for i, path := range c.Remote.Change {
		field := fmt.Sprintf("remote.change[%d]", i)
		d.wrong(field, !isPath(path, known), quote(path)+" is no path of this file"+didYouMean(path, known), "write it as telemetry.sensors.interval")
		d.wrong(field, !below(path, levelPath) && !below(path, telemetryPath) && !below(levelPath, path),
			quote(path)+" cannot be changed while the agent runs", "list log.level, or what is under telemetry")
	}
	d.wrong("remote.key", !madeOf(c.Remote.Key, alphanumeric+"-_"), quote(c.Remote.Key)+" is no key of a twin", "use letters, digits and - _")
}

// isPath says whether path is one of these, or what a stream of the file's own choice has.
func isPath(path string, known []string) bool {
	name, named := strings.CutPrefix(path, "telemetry.streams.")
	return named && name != "" || slices.Contains(known, path)
}

// below says whether path is head, or below it.
func below(path, head string) bool { return path == head || strings.HasPrefix(path, head+".") }
