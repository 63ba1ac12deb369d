package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"

	"github.com/devid-agent/devid-agent/examples/process"
)

// telegrafVersion is what we compare with, built with the plugins that the work needs and no other.
const telegrafVersion = "v1.37.2"

// prepare gets what Debian does not have. It is built once, and kept.
func (b *bench) prepare(ctx context.Context) error {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = "/var/tmp"
	}
	b.cache = filepath.Join(cache, "devid-bench", "telegraf-"+telegrafVersion)
	if _, err := os.Stat(filepath.Join(b.cache, "telegraf")); err == nil {
		return nil
	}
	b.tell("building telegraf %s: once, and it takes a minute or two", telegrafVersion)
	cmd := exec.CommandContext(ctx, "go", "install", "-tags", "custom,inputs.socket_listener,outputs.mqtt,parsers.value,serializers.template",
		"-ldflags=-s -w", "github.com/influxdata/telegraf/cmd/telegraf@"+telegrafVersion)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOBIN="+b.cache, "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build telegraf: %w\n%s", err, out)
	}
	return nil
}

// machine says where and with what this was measured.
func (b *bench) machine() []string {
	return []string{
		fmt.Sprintf("machine: %d cores (%s), %.0f GB of memory, Linux %s, %s on %s", runtime.NumCPU(), processor(),
			float64(process.Field("/proc/meminfo", "MemTotal:"))/1e6, firstOf("uname", "-r"), fileSystem(b.scratch), b.scratch),
		fmt.Sprintf("versions: %s; mosquitto %s; paho.mqtt.golang %s; telegraf %s; swtpm %s; benchmark by %s", firstOf(b.agent, "version"),
			found(firstOf(program("mosquitto"), "-h"), `version ([0-9.]+)`), pahoVersion(b.paho),
			telegrafVersion, found(firstOf("swtpm", "--version"), `version ([0-9.]+)`), runtime.Version()),
		fmt.Sprintf("work: readings of %d bytes, QoS 1, TLS with client certificates of P-256; window %d; handed to the agent by %s; medians of %d rounds",
			size, b.window, b.feed, b.rounds),
	}
}

func processor() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, value, _ := strings.Cut(lines.Text(), ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// firstOf is the first line that a program prints.
func firstOf(name string, args ...string) string {
	out, _ := exec.Command(name, args...).CombinedOutput() // mosquitto -h ends with 3
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}

func found(text, pattern string) string {
	if m := regexp.MustCompile(pattern).FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return "of an unknown version"
}

// pahoVersion is what that program was built with.
func pahoVersion(binary string) string {
	out, _ := exec.Command("go", "version", "-m", binary).Output()
	return found(string(out), `paho\.mqtt\.golang\s+(v\S+)`)
}

func fileSystem(dir string) string {
	var s syscall.Statfs_t
	if syscall.Statfs(dir, &s) != nil {
		return "a file system"
	}
	switch s.Type {
	case 0xef53:
		return "ext4"
	case 0x58465342:
		return "xfs"
	case 0x9123683e:
		return "btrfs"
	case 0x01021994:
		return "tmpfs"
	case 0x794c7630:
		return "overlayfs"
	}
	return fmt.Sprintf("file system %#x", s.Type)
}
