//go:build noingest

package main

// newIngest is nothing: no socket is opened, whatever the configuration says.
func (a *agent) newIngest() runner { return nil }
