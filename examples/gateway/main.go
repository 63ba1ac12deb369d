// Command gateway lives a gateway through its life: an emulated ARM board with Debian's kernel and systemd, a TPM, and a
// disk with a volatile cache. It installs the package, enrolls at the simulated cloud, streams, renews, and loses power in
// the worst moments. It tells the story while it happens, and its summary is counted from what the cloud received. It exits
// with 1 when a line of the summary is not as it should be.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/devid-agent/devid-agent/examples/process"
	"github.com/devid-agent/devid-agent/examples/stage"
)

type options struct {
	cache, program, config string
	deb, newer             string
	numbers                string
	full                   bool
	limit                  time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.cache, "cache", "/var/cache/devid-gateway", "the `directory` that image/build.sh has filled")
	flag.StringVar(&o.program, "board", "bin/gateway-board", "the board's own `program`, for arm64")
	flag.StringVar(&o.config, "config", "examples/gateway/agent.yaml", "the agent's configuration, with ${…} where the story fills in")
	flag.StringVar(&o.deb, "deb", "", "the `package` that is installed")
	flag.StringVar(&o.newer, "newer", "", "a `package` of a higher version, for the long form")
	flag.BoolVar(&o.full, "full", false, "the long form: also a read-only root, a clock in 1970, a full disk, an upgrade")
	flag.StringVar(&o.numbers, "numbers", "", "the `file` that the long form writes its measurements to")
	flag.DurationVar(&o.limit, "limit", 20*time.Minute, "give up after this long: emulation on a loaded machine is slow")
	flag.Parse()
	stage.Run("gateway", o.limit, func(ctx context.Context) (bool, error) { return live(ctx, o) })
}

// live sets the stage in one temporary directory, and leaves nothing of it behind.
func live(ctx context.Context, o options) (good bool, err error) {
	dir, err := os.MkdirTemp("", "gateway-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	s, err := newStory(ctx, dir, o)
	if err != nil {
		return false, err
	}
	defer s.close()
	if err := s.play(ctx); err != nil {
		return false, fmt.Errorf("%w\n--- the agent's log ends with\n%s\n--- the board's console ends with\n%s\n--- the board complains\n%s",
			err, s.log.Tail(), process.Tail(s.board.console()), s.board.complaints())
	}
	return s.summary(), nil
}
