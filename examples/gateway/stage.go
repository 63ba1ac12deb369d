package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

// device is the board's name in the cloud.
const device = "gateway-0007"

// stage is what the story is played on.
type stage struct {
	options
	dir   string
	began time.Time
	cloud *sim.Cloud
	board *board

	mu       sync.Mutex
	trap     trap
	promised map[string]bool // parts that the agent answered for
	refused  int
	last     time.Time     // when the agent answered for the last part
	silence  time.Duration // the longest time without such an answer, since somebody set it to 0
	lines    []string      // the agent's log

	scene evidence
}

// trap is the moment in which the power goes.
type trap struct {
	point  sim.Point
	issued int // not before so many certificates are issued
}

func newStage(ctx context.Context, dir string, o options) (*stage, error) {
	s := &stage{options: o, dir: dir, began: time.Now(), promised: map[string]bool{}}
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
func (s *stage) weather() sim.Temper {
	return sim.Temper{Latency: 5 * time.Millisecond, Fault: s.spring}
}

// equip makes the disks, the memory stick with what the factory gives a device, and the board.
func (s *stage) equip() error {
	stick := s.file("stick")
	if err := errors.Join(os.Mkdir(stick, 0o755), s.copyImage(), s.burnInitrd(), s.papers(stick)); err != nil {
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

func (s *stage) copyImage() error {
	return run("cp", "--sparse=always", "--reflink=auto", filepath.Join(s.cache, "base.img"), s.file("root.img"))
}

// burnInitrd adds the board's own program to the initrd: the kernel takes one archive after the other.
func (s *stage) burnInitrd() error {
	return run("sh", "-c", `mkdir "$1/add" && cp "$2" "$1/add/board" && chmod 755 "$1/add/board" &&
		(cat "$3/initrd"; cd "$1/add" && echo board | cpio --quiet -o -H newc | gzip -1) >"$1/initrd"`, "sh", s.dir, s.program, s.cache)
}

// papers are what the device is born with: a bootstrap certificate, roots and a configuration.
func (s *stage) papers(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	chain, err := s.cloud.Bootstrap(device, key.Public(), 24*time.Hour)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	var certificate []byte
	for _, c := range chain {
		certificate = append(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	text, err := os.ReadFile(s.config)
	if err != nil {
		return err
	}
	values := map[string]string{
		"DEVICE": device, "ID_SCOPE": sim.IDScope, "DPS": fromBoard(s.cloud.DPSAddr()), "HUB": fromBoard(s.cloud.HubAddr()),
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "bootstrap.pem"), certificate, 0o644),
		os.WriteFile(filepath.Join(dir, "bootstrap.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600),
		os.WriteFile(filepath.Join(dir, "roots.pem"), s.cloud.RootsPEM(), 0o644),
		os.WriteFile(filepath.Join(dir, "agent.yaml"), []byte(os.Expand(string(text), func(name string) string { return values[name] })), 0o644),
	)
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

func (s *stage) close() {
	s.board.pull()
	_ = s.cloud.Close()
}

func (s *stage) file(name string) string { return filepath.Join(s.dir, name) }

// tell prints one line of the story.
func (s *stage) tell(who, format string, args ...any) {
	fmt.Printf("%6.1f s  %-6s %s\n", time.Since(s.began).Seconds(), who, fmt.Sprintf(format, args...))
}

// spring takes the power away where the trap is set. The cloud asks here at every point.
func (s *stage) spring(point sim.Point, _ string, _ int) error {
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
func (s *stage) note(line string) {
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

// tail is the end of the agent's log.
func (s *stage) tail() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines[max(0, len(s.lines)-30):], "\n")
}
