package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/devid-agent/devid-agent/examples/stage"
	"github.com/devid-agent/devid-agent/sim"
)

// device is the board's name in the cloud.
const device = "gateway-0007"

// story is what happens, and what it happens to.
type story struct {
	options
	dir   string
	began time.Time
	cloud *sim.Cloud
	board *board
	log   stage.Log

	mu       sync.Mutex
	trap     trap
	promised map[string]bool // parts that the agent answered for
	refused  int
	last     time.Time     // when the agent answered for the last part
	silence  time.Duration // the longest time without such an answer, since somebody set it to 0

	scene evidence
}

// trap is the moment in which the power goes.
type trap struct {
	point  sim.Point
	issued int // not before so many certificates are issued
}

func newStory(ctx context.Context, dir string, o options) (*story, error) {
	s := &story{options: o, dir: dir, began: time.Now(), promised: map[string]bool{}}
	cloud, err := sim.Start(ctx, s.weather(), func(p *sim.Policy) { p.Life = life })
	if err != nil {
		return nil, err
	}
	s.cloud = cloud
	if err := s.equip(); err != nil {
		return nil, errors.Join(err, cloud.Close())
	}
	return s, nil
}

// weather is a cloud that is well, and that asks at every point whether the power goes.
func (s *story) weather() sim.Temper {
	return sim.Temper{Latency: 5 * time.Millisecond, Fault: s.spring}
}

// equip makes the disks, the memory stick with what the factory gives a device, and the board.
func (s *story) equip() error {
	stick := s.file("stick")
	if err := errors.Join(os.Mkdir(stick, 0o755), s.copyImage(), s.burnInitrd(), stage.Papers(s.cloud, device, stick),
		stage.Configure(filepath.Join(stick, "agent.yaml"), s.config, map[string]string{
			"DEVICE": device, "ID_SCOPE": sim.IDScope, "DPS": fromBoard(s.cloud.DPSAddr()), "HUB": fromBoard(s.cloud.HubAddr()),
		})); err != nil {
		return err
	}
	for name, deb := range map[string]string{"devid-agent.deb": s.deb, "newer.deb": s.newer} {
		if deb == "" {
			continue
		}
		if err := run("cp", deb, filepath.Join(stick, name)); err != nil {
			return err
		}
	}
	if err := run("mke2fs", "-q", "-t", "ext4", "-L", "stick", "-d", stick, s.file("stick.img"), "32M"); err != nil {
		return err
	}
	if err := run("mke2fs", "-q", "-t", "ext4", "-b", "4096", "-L", "data", "-m", "0", s.file("data.img"), "64M"); err != nil {
		return err
	}
	root, err := openDisk(s.file("root.img"))
	if err != nil {
		return err
	}
	data, err := openDisk(s.file("data.img"))
	if err != nil {
		return err
	}
	s.board = &board{dir: s.dir, cache: s.cache, stick: s.file("stick.img"), root: root, data: data, onLine: s.hear, onPress: s.note}
	return s.board.lay()
}

func (s *story) copyImage() error {
	return run("cp", "--sparse=always", "--reflink=auto", filepath.Join(s.cache, "base.img"), s.file("root.img"))
}

// burnInitrd adds the board's own program to the initrd: the kernel takes one archive after the other.
func (s *story) burnInitrd() error {
	return run("sh", "-c", `mkdir "$1/add" && cp "$2" "$1/add/board" && chmod 755 "$1/add/board" &&
		(cat "$3/initrd"; cd "$1/add" && echo board | cpio --quiet -o -H newc | gzip -1) >"$1/initrd"`, "sh", s.dir, s.program, s.cache)
}

// fromBoard is an address of this machine as the emulated network has it.
func fromBoard(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return net.JoinHostPort("10.0.2.2", port)
}

func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

func (s *story) close() {
	s.board.pull()
	_ = s.cloud.Close()
}

func (s *story) file(name string) string { return filepath.Join(s.dir, name) }

// tell prints one line of the story.
func (s *story) tell(who, format string, args ...any) {
	fmt.Printf("%6.1f s  %-6s %s\n", time.Since(s.began).Seconds(), who, fmt.Sprintf(format, args...))
}

// spring takes the power away where the trap is set. The cloud asks here at every point.
func (s *story) spring(point sim.Point, _ string, _ int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if point != s.trap.point || len(s.cloud.Issued(device)) < s.trap.issued {
		return nil
	}
	s.trap = trap{}
	s.board.pull()
	return sim.ErrDrop
}

// note is told by the press, by a wire of its own, what the agent has said to a part.
func (s *story) note(line string) {
	verdict, part, _ := strings.Cut(line, " ")
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); verdict == "promised" {
		if !s.last.IsZero() {
			s.silence = max(s.silence, now.Sub(s.last))
		}
		s.promised[part], s.last = true, now
	} else {
		s.refused++
	}
}

// hear takes a line of the agent's log. What systemd says of the agent is among them, and is no entry.
func (s *story) hear(line string) {
	e, _ := s.log.Hear(line)
	if e.Msg == "identity advanced" {
		s.mu.Lock()
		s.scene.generation = e.Identity.Gen
		s.mu.Unlock()
	}
	if words := e.Words(); words != "" {
		s.tell("agent", "%s", words)
	}
}
