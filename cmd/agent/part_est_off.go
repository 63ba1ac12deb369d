//go:build noest

package main

func (a *agent) openEST() (certifier, error) { return nil, notBuiltIn("EST", "noest") }

func mistakeInEST(*Config) error { return notBuiltIn("EST", "noest") }
