package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/devid-agent/devid-agent/examples/process"
)

func runTelegraf(ctx context.Context, b *bench, j job) (o outcome, err error) {
	cmd, err := b.startTelegraf(ctx, j, "disk")
	if err != nil {
		return o, err
	}
	defer process.Kill(cmd)
	return b.daemon(ctx, cmd.Process.Pid, j, func(s *source) error {
		return b.feedTelegraf(ctx, j.dir, s)
	})
}

func (b *bench) startTelegraf(ctx context.Context, j job, strategy string) (*exec.Cmd, error) {
	text, err := os.ReadFile(filepath.Join(b.files, "telegraf.conf"))
	if err != nil {
		return nil, err
	}
	values := map[string]string{"STRATEGY": strategy, "DIR": j.dir, "BROKER": j.hub, "TOPIC": topic, "ROOTS": b.client.roots,
		"CERTIFICATE": b.client.certificate, "KEY": b.client.key}
	file := filepath.Join(j.dir, "telegraf.conf")
	if err := os.WriteFile(file, []byte(os.Expand(string(text), func(name string) string { return values[name] })), 0o600); err != nil {
		return nil, err
	}
	log := filepath.Join(j.dir, "telegraf.log")
	cmd, err := process.Start(log, nil, filepath.Join(b.cache, "telegraf"), "--config", file)
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(j.dir, "telegraf.sock")
	err = until(ctx, "telegraf to take readings", func() bool { return listens("unix", socket) || !process.Lives(cmd) })
	if err == nil && !process.Lives(cmd) {
		err = fmt.Errorf("it has ended: %s", process.Tail(log))
	}
	return cmd, err
}

// feedTelegraf writes lines to its socket, which confirms nothing: what it read it has accepted.
func (b *bench) feedTelegraf(ctx context.Context, dir string, s *source) error {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, "telegraf.sock"))
	if err != nil {
		return err
	}
	defer conn.Close()
	return writeLines(ctx, conn, s)
}

// writeLines writes each reading as a line.
func writeLines(ctx context.Context, to io.Writer, s *source) error {
	w := bufio.NewWriterSize(to, 16<<10)
	var line []byte
	for {
		n, some := s.take(ctx, 1)
		if some == 0 {
			return w.Flush()
		}
		line = append(reading(line[:0], n), '\n')
		if _, err := w.Write(line); err != nil {
			return err
		}
		if s.every > 0 {
			if err := w.Flush(); err != nil {
				return err
			}
		}
	}
}

func runBridge(ctx context.Context, b *bench, j job) (o outcome, err error) {
	cmd, local, err := b.connectBridge(ctx, j)
	if err != nil {
		return o, err
	}
	defer process.Kill(cmd)
	return b.daemon(ctx, cmd.Process.Pid, j, func(s *source) error {
		return intake{kind: "mqtt", network: "tcp", address: local, topic: topic}.feed(ctx, s, func(int, int) {})
	})
}

// connectBridge returns when a first reading has come through, as the others are waited for. Now and then a bridge does not
// connect; then another one is started.
func (b *bench) connectBridge(ctx context.Context, j job) (cmd *exec.Cmd, local string, err error) {
	for range 3 {
		if cmd, local, err = b.startBridge(ctx, j); err != nil {
			return nil, "", err
		}
		door := intake{kind: "mqtt", network: "tcp", address: local, topic: topic}
		err = door.feed(ctx, newSource(b.number(1), 1), func(int, int) {})
		if t, _ := b.counter.await(ctx, 1, 10*time.Second); err == nil && t.unique == 1 {
			return cmd, local, nil
		}
		process.Kill(cmd)
	}
	return nil, "", fmt.Errorf("it does not connect: %v %s", err, process.Tail(filepath.Join(j.dir, "bridge.log")))
}

// startBridge starts a second mosquitto on the device, which hands on what it is given, and saves its database each second.
func (b *bench) startBridge(ctx context.Context, j job) (cmd *exec.Cmd, local string, err error) {
	local = freeAddress()
	text := fmt.Sprintf("user %s\nset_tcp_nodelay true\nmax_queued_messages 0\npersistence true\npersistence_location %s/\nautosave_interval 1\n"+
		"log_type error\nlistener %s 127.0.0.1\nallow_anonymous true\n"+
		"connection hub\naddress %s\ntopic devices/# out 1\nremote_clientid bridge\nlocal_clientid local\nnotifications false\ncleansession false\nrestart_timeout 1\ntry_private false\n"+
		"bridge_cafile %s\nbridge_certfile %s\nbridge_keyfile %s\nbridge_protocol_version mqttv311\n",
		user(), j.dir, port(local), j.hub, b.client.roots, b.client.certificate, b.client.key)
	cmd, err = startMosquitto(ctx, j.dir, "bridge", text, local)
	return cmd, local, err
}

func runPaho(ctx context.Context, b *bench, j job) (outcome, error) {
	return b.lines(ctx, j, exec.Command(b.paho, "-server", j.hub, "-topic", topic, "-roots", b.client.roots,
		"-certificate", b.client.certificate, "-key", b.client.key, "-window", fmt.Sprint(b.window)))
}

func runPub(ctx context.Context, b *bench, j job) (outcome, error) {
	host, _, _ := net.SplitHostPort(j.hub)
	return b.lines(ctx, j, exec.Command(program("mosquitto_pub"), "-l", "-q", "1", "-t", topic, "-h", host, "-p", port(j.hub),
		"--cafile", b.client.roots, "--cert", b.client.certificate, "--key", b.client.key))
}

// lines lets a program do the job that publishes each line of its input, and ends.
func (b *bench) lines(ctx context.Context, j job, cmd *exec.Cmd) (o outcome, err error) {
	in, err := cmd.StdinPipe()
	if err != nil {
		return o, err
	}
	cmd.Stderr = os.Stderr
	b.counter.expect(j.first, j.n)
	if err := cmd.Start(); err != nil {
		return o, err
	}
	defer process.Kill(cmd)
	fed := make(chan error, 1)
	go func() {
		err := writeLines(ctx, in, j.source())
		_ = in.Close()
		fed <- err
	}()
	if o.tally, err = b.counter.await(ctx, j.n, j.patient); err != nil {
		return o, err
	}
	if err := <-fed; err != nil {
		return o, err
	}
	if err := cmd.Wait(); err != nil {
		return o, err
	}
	o.cost = process.Spent(cmd.ProcessState)
	return o, nil
}
