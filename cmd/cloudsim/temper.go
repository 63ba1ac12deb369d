package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/devid-agent/devid-agent/sim"
)

// temper is what --temper and then --set say.
func (o *options) temper() (sim.Temper, error) {
	var t sim.Temper
	if o.weather != "" {
		b, err := os.ReadFile(o.weather)
		if err != nil {
			return t, fmt.Errorf("temper: %w", err)
		}
		if t, err = sim.ParseTemper(b); err != nil {
			return t, fmt.Errorf("temper %s: %w", o.weather, err)
		}
	}
	for _, pair := range o.set {
		name, value, _ := strings.Cut(pair, "=")
		if err := t.Set(name, value); err != nil {
			return t, fmt.Errorf("temper: %w", err)
		}
	}
	return t, nil
}
