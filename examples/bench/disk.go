package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// disk is an ext4 of its own on a loop device, whose counters know what reached it: data, journal and all.
type disk struct {
	image, device, dir string
}

// newDisk needs root, and a kernel with loop devices.
func newDisk(ctx context.Context, dir, name string, megabytes int64) (d *disk, err error) {
	d = &disk{image: filepath.Join(dir, name+".img"), dir: filepath.Join(dir, name)}
	if err := os.WriteFile(d.image, nil, 0o600); err != nil {
		return nil, err
	}
	if err := os.Truncate(d.image, megabytes<<20); err != nil {
		return nil, err
	}
	out, err := command(ctx, "losetup", "--find", "--show", d.image)
	if err != nil {
		return nil, err
	}
	d.device = out
	if _, err = command(ctx, "mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", d.device); err == nil {
		if err = os.Mkdir(d.dir, 0o700); err == nil {
			_, err = command(ctx, "mount", d.device, d.dir)
		}
	}
	if err != nil {
		d.close()
	}
	return d, err
}

func (d *disk) close() {
	ctx := context.Background()
	_, _ = command(ctx, "umount", d.dir)
	_, _ = command(ctx, "losetup", "--detach", d.device)
	_ = errors.Join(os.Remove(d.dir), os.Remove(d.image))
}

// written is how many bytes have reached the device, after what waits was sent there: the seventh field of stat, in sectors
// of 512 bytes (Linux, Documentation/block/stat.rst).
func (d *disk) written() (int64, error) {
	if _, err := command(context.Background(), "sync", "--file-system", d.dir); err != nil {
		return 0, err
	}
	text, err := os.ReadFile("/sys/block/" + filepath.Base(d.device) + "/stat")
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text))
	if len(fields) < 7 {
		return 0, fmt.Errorf("the counters of %s are %q", d.device, text)
	}
	sectors, err := strconv.ParseInt(fields[6], 10, 64)
	return sectors * 512, err
}

// command runs a program to its end, and returns what it printed.
func command(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, program(name), args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return strings.TrimSpace(string(out)), nil
}
