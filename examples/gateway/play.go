package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/devid-agent/devid-agent/examples/stage"
	"github.com/devid-agent/devid-agent/sim"
)

// life of the first two certificates at least: the second renewal comes by itself, after two thirds of it.
const life = 3 * time.Minute

// play is the story.
func (s *story) play(ctx context.Context) error {
	acts := []func(context.Context) error{s.unbox, s.install, s.enroll, s.cutRenewal, s.cutStream, s.renew}
	if s.full {
		acts = append(acts, s.long()...)
	}
	for _, act := range append(acts, s.settle) {
		if err := act(ctx); err != nil {
			return err
		}
	}
	return nil
}

// switchOn gives power, and waits for the board to come up.
func (s *story) switchOn(ctx context.Context, p power) error {
	if err := s.board.switchOn(ctx, p); err != nil {
		return err
	}
	up := time.Since(s.board.on)
	s.scene.boots = append(s.scene.boots, boot{up: up})
	s.tell("board", "is up, %.1f s after it got power", up.Seconds())
	return nil
}

// streaming waits for the first reading of this boot, and remembers how long it took.
func (s *story) streaming(ctx context.Context) error {
	var first time.Duration
	err := s.until(ctx, "readings after the boot", func() bool {
		all := s.cloud.Received(device)
		if len(all) == 0 || all[len(all)-1].Time.Before(s.board.on) {
			return false
		}
		for i := len(all) - 1; i >= 0 && all[i].Time.After(s.board.on); i-- {
			first = all[i].Time.Sub(s.board.on)
		}
		return true
	})
	s.scene.boots[len(s.scene.boots)-1].first = first
	return err
}

func (s *story) unbox(ctx context.Context) error {
	s.tell("cloud", "a DPS and an IoT Hub at %s and %s", s.cloud.DPSAddr(), s.cloud.HubAddr())
	s.tell("board", "gets power: ARM64, a blank TPM, Debian as it comes, and a memory stick from the factory")
	if err := s.switchOn(ctx, power{}); err != nil {
		return err
	}
	// A machine on which a boot takes long shall not let a certificate expire in one.
	s.cloud.SetPolicy(func(p *sim.Policy) { p.Life = max(life, 6*s.scene.boots[0].up) })
	return nil
}

// install is what an administrator types.
func (s *story) install(ctx context.Context) error {
	began := time.Now()
	if _, err := s.board.do(ctx, "mount -o ro /dev/vdc /media && dpkg --install /media/devid-agent.deb"); err != nil {
		return err
	}
	s.scene.install = time.Since(began)
	version, err := s.board.do(ctx, "dpkg-query -W -f '${Version}' devid-agent")
	if err != nil {
		return err
	}
	s.scene.version = version
	s.tell("board", "dpkg has installed devid-agent %s in %.1f s", version, s.scene.install.Seconds())
	_, err = s.board.do(ctx, "cp /media/agent.yaml /media/*.pem /etc/devid-agent/ && install -o devid-agent -m 0600 /media/bootstrap.key /etc/devid-agent/ && "+
		"umount /media && sync && devid-agent config check && systemctl restart devid-agent")
	return err
}

func (s *story) enroll(ctx context.Context) error {
	if err := s.until(ctx, "the device to enroll", func() bool { return s.cloud.Online(device) }); err != nil {
		return err
	}
	if err := s.streaming(ctx); err != nil {
		return err
	}
	return s.until(ctx, "the check of the key", func() bool {
		out, err := s.board.do(ctx, "devid-agent check --json")
		return err == nil && json.Unmarshal([]byte(out), &s.scene.check) == nil && s.scene.check.Key != nil
	})
}

// cutRenewal takes the power away when the new certificate is issued and on the disk, and the hub has not let it in.
func (s *story) cutRenewal(ctx context.Context) error {
	if err := s.flow(ctx, 30); err != nil {
		return err
	}
	s.tell("board", "devid-agent renew")
	if err := s.cutAt(ctx, "in mid-renewal: the certificate is issued, and not yet proven", trap{sim.AtConnect, len(s.cloud.Issued(device)) + 1},
		"devid-agent renew >/dev/null 2>&1 &"); err != nil {
		return err
	}
	issued := len(s.cloud.Issued(device))
	if err := s.again(ctx); err != nil {
		return err
	}
	return s.until(ctx, "the renewal to be finished", func() bool { return s.generationIs(uint64(issued)) })
}

// backlog is how many promised readings are on the board alone when the power goes in mid-stream.
const backlog = 40

// cutStream lets the hub get slow, so that readings wait, and takes the power away while the disk writes.
func (s *story) cutStream(ctx context.Context) error {
	if err := s.flow(ctx, 60); err != nil {
		return err
	}
	s.throttle()
	if err := s.until(ctx, "readings to wait", func() bool { return len(s.missing()) >= backlog }); err != nil {
		return err
	}
	s.board.data.set(func() bool { s.board.pull(); return true })
	if err := s.dark(ctx, "in mid-stream, while the disk was writing"); err != nil {
		return err
	}
	s.cloud.SetTemper(s.weather())
	return s.again(ctx)
}

// throttle lets the hub get slow.
func (s *story) throttle() {
	s.tell("cloud", "the hub takes 2 readings a second from now on")
	slow := s.weather()
	slow.SendRate = 2
	s.cloud.SetTemper(slow)
}

// renew waits for a renewal that nobody asked for.
func (s *story) renew(ctx context.Context) error {
	s.mu.Lock()
	generation := s.scene.generation
	s.mu.Unlock()
	s.cloud.SetPolicy(func(p *sim.Policy) { p.Life = 24 * time.Hour })
	s.tell("board", "readings flow; a renewal comes when two thirds of the certificate's life are over")
	return s.until(ctx, "a renewal", func() bool { return s.generationIs(generation + 1) })
}

// cutAt sets a trap, gives the board something to do, and waits until it lies in the dark.
func (s *story) cutAt(ctx context.Context, where string, t trap, shell string) error {
	s.mu.Lock()
	s.trap = t
	s.mu.Unlock()
	if shell != "" {
		if _, err := s.board.do(ctx, "%s", shell); err != nil && s.armed() {
			return err
		}
	}
	return s.dark(ctx, where)
}

// dark waits until the power is gone.
func (s *story) dark(ctx context.Context, where string) error {
	kept, forgotten, err := s.board.over(ctx)
	if err != nil {
		return fmt.Errorf("power cut %s: %w", where, err)
	}
	c := cut{where: where, waiting: len(s.missing()), kept: kept, forgotten: forgotten}
	s.scene.cuts = append(s.scene.cuts, c)
	s.tell("power", "cut %s; %d promised readings wait on the disk, which forgets %d of %d unflushed blocks", where, c.waiting, forgotten, kept+forgotten)
	return nil
}

func (s *story) armed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trap.point != ""
}

// again gives the power back.
func (s *story) again(ctx context.Context) error { return s.againAs(ctx, power{}) }

func (s *story) againAs(ctx context.Context, p power) error {
	s.tell("board", "gets power again")
	if err := s.switchOn(ctx, p); err != nil {
		return err
	}
	return s.streaming(ctx)
}

// flow waits for n more readings.
func (s *story) flow(ctx context.Context, n int) error {
	before := len(s.cloud.Received(device))
	return s.until(ctx, "readings", func() bool { return len(s.cloud.Received(device)) >= before+n })
}

func (s *story) generationIs(n uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.scene.generation >= n
}

// settle lets the press stop, waits until the agent has sent all that it holds, and looks at the agent once more.
func (s *story) settle(ctx context.Context) error {
	if _, err := s.board.do(ctx, "systemctl stop board-press"); err != nil {
		return err
	}
	out, err := s.board.do(ctx, "date --rfc-3339=ns")
	if err != nil {
		return err
	}
	stopped, err := time.Parse("2006-01-02 15:04:05.999999999-07:00", strings.TrimSpace(out))
	if err != nil {
		return err
	}
	if err := s.until(ctx, "the spool to empty", func() bool {
		return s.status(ctx) == nil && s.scene.final.Written.After(stopped) && stage.Holds(s.cloud.Received(device), s.scene.final.Spool.LastSeq)
	}); err != nil {
		return err
	}
	if err := s.weigh(ctx); err != nil {
		return err
	}
	s.board.pull()
	_, _, err = s.board.over(ctx)
	return err
}

func (s *story) status(ctx context.Context) error {
	out, err := s.board.do(ctx, "devid-agent status --json")
	if err != nil {
		return err
	}
	var r stage.Status
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		return err
	}
	s.scene.final = r
	return nil
}

// until waits for something; a board that has died is not waited for.
func (s *story) until(ctx context.Context, what string, is func() bool) error {
	for !is() {
		select {
		case <-s.board.ended:
			return errors.New("the board ended while we waited for " + what)
		case <-ctx.Done():
			return fmt.Errorf("waited too long for %s: %w", what, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil
}
