package main

import (
	"context"
	"fmt"
	"time"

	"github.com/devid-agent/devid-agent/examples/stage"
)

// memory is what the agent takes on the board, in KB.
type memory struct{ Peak, Now int }

func (s *story) weigh(ctx context.Context) error {
	m, err := s.memory(ctx)
	s.scene.memory = m
	return err
}

func (s *story) memory(ctx context.Context) (m memory, err error) {
	out, err := s.board.do(ctx, `sed -nE 's/^Vm(HWM|RSS):[^0-9]*([0-9]+) kB/\2/p' /proc/$(systemctl show -P MainPID devid-agent)/status`)
	if err != nil {
		return m, err
	}
	if _, err := fmt.Sscan(out, &m.Peak, &m.Now); err != nil {
		return m, fmt.Errorf("memory of the agent: %w: %q", err, out)
	}
	return m, nil
}

const (
	idle     = time.Minute
	thousand = 1000
)

// measure lets the agent be alone for a minute, as it is configured by default, and then be busy.
func (s *story) measure(ctx context.Context) error {
	n := &stage.Board{Architecture: "arm64, emulated", FirstMessageS: s.scene.boots[1].first.Seconds()}
	s.scene.long.numbers = n
	if err := s.measureIdle(ctx, n); err != nil {
		return err
	}
	if err := s.measureBusy(ctx, n); err != nil {
		return err
	}
	m, err := s.memory(ctx)
	if err != nil {
		return err
	}
	n.PeakKB = m.Peak
	if s.numbers == "" {
		return nil
	}
	return n.Write(s.numbers)
}

func (s *story) measureIdle(ctx context.Context, n *stage.Board) error {
	if _, err := s.board.do(ctx, "systemctl stop board-press && mount -o remount,rw / && sed -i 's/interval: 2s/interval: 1m/; /^remote:/,$d' /etc/devid-agent/agent.yaml && sync && "+
		"mount -o remount,ro / && systemctl restart devid-agent"); err != nil {
		return err
	}
	began := time.Now()
	before := len(s.cloud.Received(device))
	if err := s.flow(ctx, 1); err != nil {
		return err
	}
	n.AgentFirstMS = s.cloud.Received(device)[before].Time.Sub(began).Milliseconds()
	s.tell("board", "is left alone for a minute, and measured")
	if err := stage.Wait(ctx, 10*time.Second); err != nil {
		return err
	}
	bytes, flushes := s.board.data.traffic()
	switches, err := s.switches(ctx)
	if err != nil {
		return err
	}
	if err := stage.Wait(ctx, idle); err != nil {
		return err
	}
	now, err := s.switches(ctx)
	if err != nil {
		return err
	}
	more, flushed := s.board.data.traffic()
	n.IdleSeconds, n.IdleBytes, n.IdleFlushes, n.IdleSwitches = idle.Seconds(), more-bytes, flushed-flushes, now-switches
	m, err := s.memory(ctx)
	n.SteadyKB = m.Now
	return err
}

// switches is how often the agent has gone to sleep by itself, and so how often it was woken.
func (s *story) switches(ctx context.Context) (n int, err error) {
	out, err := s.board.do(ctx, `n=0; for f in /proc/$(systemctl show -P MainPID devid-agent)/task/*/status; do n=$((n + $(sed -n 's/^voluntary_ctxt_switches:[^0-9]*//p' $f))); done; echo $n`)
	if err != nil {
		return 0, err
	}
	_, err = fmt.Sscan(out, &n)
	return n, err
}

func (s *story) measureBusy(ctx context.Context, n *stage.Board) error {
	before, _ := s.board.data.traffic()
	received := len(s.cloud.Received(device))
	if _, err := s.board.do(ctx, "echo 1ms >/run/press; systemctl start board-press"); err != nil {
		return err
	}
	if err := s.flow(ctx, thousand); err != nil {
		return err
	}
	n.Messages = len(s.cloud.Received(device)) - received
	after, _ := s.board.data.traffic()
	n.MessageBytes = after - before
	return nil
}
