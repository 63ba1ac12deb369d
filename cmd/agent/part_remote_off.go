//go:build noremote

package main

import (
	"context"
	"net/http"

	"github.com/devid-agent/devid-agent/telemetry/iothub"
)

const builtRemote = false

type cloud struct{}

func (a *agent) openCloud() error {
	if !a.config.asked() {
		return nil
	}
	return notBuiltIn("answers for the cloud", "noremote")
}

func (*cloud) serve(*agent)                      {}
func (*cloud) follow(context.Context)            {}
func (*cloud) end()                              {}
func (*cloud) failed()                           {}
func (*cloud) run(context.Context, *agent) error { return nil }
func (*cloud) handler() http.Handler             { return nil }
func (*cloud) handlers() (h iothub.Handlers)     { return h }
