//go:build noezca

package main

func (a *agent) openEZCA() (certifier, error) { return nil, notBuiltIn("EZCA", "noezca") }
