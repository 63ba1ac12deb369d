package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/devid-agent/devid-agent/examples/stage"
	"github.com/devid-agent/devid-agent/sim"
)

// longEvidence is what the long form adds.
type longEvidence struct {
	newer    string // version
	upgrade  time.Duration
	silence  time.Duration // of the agent towards the press, during the upgrade
	unused   int           // certificates that a cut left without a key
	full     int           // readings refused for want of room
	fullHint string
	restarts string // of the service, while the disk was full

	forbidden string // what the agent advises while polkit forbids it to reboot
	readOnly  string // what the root says to somebody who writes
	year      string
	waited    int // readings promised in the wrong year
	clock     string
	numbers   *stage.Board
}

// long are the acts of the long form.
func (s *story) long() []func(context.Context) error {
	return []func(context.Context) error{s.upgrade, s.cutIssued, s.fillDisk, s.reboot, s.lockRoot, s.turnBackClock, s.measure}
}

// upgrade installs a newer version while the press is at work.
func (s *story) upgrade(ctx context.Context) error {
	s.mu.Lock()
	s.silence = 0
	s.mu.Unlock()
	began := time.Now()
	if _, err := s.board.do(ctx, "mount -o ro /dev/vdc /media && dpkg --install /media/newer.deb && umount /media"); err != nil {
		return err
	}
	s.scene.long.upgrade = time.Since(began)
	if err := s.flow(ctx, 30); err != nil {
		return err
	}
	version, err := s.board.do(ctx, "dpkg-query -W -f '${Version}' devid-agent; systemctl is-active --quiet devid-agent")
	s.mu.Lock()
	s.scene.long.newer, s.scene.long.silence = version, s.silence
	s.mu.Unlock()
	s.tell("board", "dpkg has installed devid-agent %s while it ran; the press had no answer for %.1f s", version, s.scene.long.silence.Seconds())
	return err
}

// cutIssued takes the power away when the certificate is issued and the board does not know it. Then a person asks again.
func (s *story) cutIssued(ctx context.Context) error {
	s.tell("board", "devid-agent renew")
	if err := s.cutAt(ctx, "in mid-renewal: the certificate is issued, and the board does not have it", trap{sim.AtIssued, len(s.cloud.Issued(device)) + 1},
		"devid-agent renew >/dev/null 2>&1 &"); err != nil {
		return err
	}
	s.scene.long.unused++
	if err := s.again(ctx); err != nil {
		return err
	}
	return s.renewNow(ctx)
}

func (s *story) renewNow(ctx context.Context) error {
	out, err := s.board.do(ctx, "devid-agent renew")
	s.tell("board", "devid-agent renew: %s", strings.TrimSpace(out))
	return err
}

const state = "/var/lib/devid-agent"

// fillDisk takes all room on the disk while the hub is slow, until the agent refuses what it cannot keep. Then there is
// room again.
func (s *story) fillDisk(ctx context.Context) error {
	s.throttle()
	if _, err := s.board.do(ctx, "fallocate -l $(($(stat -f -c '%%a*%%S' %s) - 65536)) %s/somebody-elses-file; echo 5ms 4000 >/run/press", state, state); err != nil {
		return err
	}
	s.tell("board", "somebody fills the disk, and the press works 20 times as fast, and writes notes of 4 KB")
	before := s.refusals()
	if err := s.until(ctx, "the agent to refuse readings", func() bool { return s.refusals() >= before+20 }); err != nil {
		return err
	}
	restarts, err := s.board.do(ctx, "systemctl show -P NRestarts devid-agent")
	if err != nil {
		return err
	}
	s.scene.long.restarts = strings.TrimSpace(restarts)
	s.scene.long.fullHint = s.log.Hint("room", "space", "full")
	if _, err := s.board.do(ctx, "rm /run/press %s/somebody-elses-file", state); err != nil {
		return err
	}
	s.scene.long.full = s.refusals() - before
	s.tell("board", "there is room again; %d readings were refused", s.scene.long.full)
	s.cloud.SetTemper(s.weather())
	return s.flow(ctx, 30)
}

func (s *story) refusals() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused
}

// lockRoot makes the root read-only, as image builders do, and lets the board be switched off properly.
func (s *story) lockRoot(ctx context.Context) error {
	if _, err := s.board.do(ctx, `sed -i '/^.dev.vda/s/defaults/ro/' /etc/fstab && printf 'tmpfs /tmp tmpfs defaults 0 0\ntmpfs /var/tmp tmpfs defaults 0 0\n' >>/etc/fstab && sync && { (sleep 1; systemctl poweroff) >/dev/null 2>&1 & }`); err != nil {
		return err
	}
	if _, _, err := s.board.over(ctx); err != nil {
		return err
	}
	s.tell("board", "is switched off properly, and gets a read-only root")
	if err := s.againAs(ctx, power{readOnly: true}); err != nil {
		return err
	}
	out, _ := s.board.do(ctx, "touch /etc/nobody-may")
	s.scene.long.readOnly = strings.TrimSpace(out)
	return s.renewNow(ctx)
}

// turnBackClock lets the board come up without a battery for its clock. Its certificates are of the future then.
func (s *story) turnBackClock(ctx context.Context) error {
	s.board.pull()
	if err := s.dark(ctx, "with no warning; the battery of its clock is empty, too"); err != nil {
		return err
	}
	s.tell("board", "gets power again, in 1970")
	issued := len(s.cloud.Issued(device))
	if err := s.switchOn(ctx, power{readOnly: true, clock: "1970-01-01T00:00:00"}); err != nil {
		return err
	}
	year, err := s.board.do(ctx, "date +%%F")
	if err != nil {
		return err
	}
	s.scene.long.year = strings.TrimSpace(year)
	s.tell("board", "takes it for %s", s.scene.long.year)
	if err := s.until(ctx, "readings that wait for the right time", func() bool { return len(s.missing()) >= backlog }); err != nil {
		return err
	}
	s.scene.long.waited = len(s.missing())
	s.scene.long.clock = s.log.Hint("clock", "not yet valid")
	if now := len(s.cloud.Issued(device)); now != issued {
		return fmt.Errorf("a wrong clock has led to %d certificates", now-issued)
	}
	s.tell("board", "its clock is set")
	if _, err := s.board.do(ctx, "date -s @%d", time.Now().Unix()); err != nil {
		return err
	}
	return s.streaming(ctx)
}
