//go:build noest || noezca || nohsm || noattest || nofield || noremote

package main

import (
	"fmt"

	"github.com/devid-agent/devid-agent/fault"
)

// notBuiltIn says that a part of the agent was left out by that build tag.
func notBuiltIn(part, tag string) error {
	return fault.AskOperator(fmt.Errorf("this build of devid-agent has no %s", part), "install one that was built without the tag "+tag)
}
