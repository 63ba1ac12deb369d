package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
)

// reboot lets the cloud call the agent's method, once before an administrator has allowed it and once after. The board then
// goes down by itself, and is given power again.
func (s *story) reboot(ctx context.Context) error {
	rule, err := polkitRule("docs/remote.md")
	if err != nil {
		return err
	}
	if _, err := s.board.do(ctx, `printf 'remote:\n  methods: [reboot]\n' >>/etc/devid-agent/agent.yaml && sync && systemctl restart devid-agent`); err != nil {
		return err
	}
	if err := s.callReboot(ctx); err != nil {
		return err
	}
	if err := s.until(ctx, "polkit to forbid the reboot", func() bool {
		s.scene.long.forbidden = s.log.Hint("systemctl reboot")
		return s.scene.long.forbidden != ""
	}); err != nil {
		return err
	}
	s.tell("board", "an administrator allows it, by the rule of docs/remote.md")
	if _, err := s.board.do(ctx, "cat >/etc/polkit-1/rules.d/50-devid-agent.rules <<'end' && sync\n%send", rule); err != nil {
		return err
	}
	if err := s.callReboot(ctx); err != nil {
		return err
	}
	kept, forgotten, err := s.board.over(ctx)
	if err != nil {
		return err
	}
	if n := kept + forgotten; n > 0 {
		return fmt.Errorf("the board went down with %d unflushed blocks: that was no orderly reboot", n)
	}
	return s.again(ctx)
}

// callReboot is what an operator does in the portal. While the agent connects, the hub knows of nobody to ask.
func (s *story) callReboot(ctx context.Context) error {
	return s.until(ctx, "the method reboot to be accepted", func() bool {
		answer, err := s.cloud.Invoke(ctx, device, "reboot", []byte(`{"in": "2s"}`), 0)
		if err == nil {
			s.tell("cloud", "calls the method reboot, the answer is %d", answer.Status)
		}
		return err == nil && answer.Status == http.StatusAccepted
	})
}

// polkitRule is the rule that a document tells administrators to write.
func polkitRule(document string) (string, error) {
	text, err := os.ReadFile(document)
	if err != nil {
		return "", err
	}
	_, rule, begins := strings.Cut(string(text), "```js\n")
	rule, _, ends := strings.Cut(rule, "```")
	if !begins || !ends || !strings.Contains(rule, "polkit.addRule") {
		return "", errors.New(document + " has no rule for polkit")
	}
	return rule, nil
}
