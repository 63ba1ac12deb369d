//go:build noezca

package main

func (a *agent) openEZCA() (certifier, error) { return nil, notBuiltIn("EZCA", "noezca") }

func mistakeInEZCA(*Config) error { return notBuiltIn("EZCA", "noezca") }
