package sensors

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
)

// disk reads the room on each file system on a real medium, and what each medium has read and written.
func disk(ctx context.Context, m Machine) *found {
	f := nothing()
	if systems := m.fileSystems(ctx, f); len(systems) > 0 {
		f.values["file_systems"] = systems
	}
	if media := m.media(ctx, f); len(media) > 0 {
		f.values["devices"] = media
	}
	if flash := m.flash(ctx, f); len(flash) > 0 {
		f.values["flash"] = flash
	}
	return f
}

// mount is a line of /proc/self/mountinfo (proc_pid_mountinfo(5)).
type mount struct{ number, root, point, kind, device string }

// onMedium reports whether the file system lies on a medium that can fill up or wear out. Raw flash has no block
// device; images that are read-only by nature are always full.
func (t mount) onMedium() bool {
	switch t.kind {
	case "ubifs", "jffs2", "zfs":
		return true
	case "squashfs", "erofs", "iso9660", "cramfs", "udf":
		return false
	}
	return strings.HasPrefix(t.device, "/dev/") && t.device != "/dev/fuse"
}

// fileSystems is each file system once, under its shortest mount point: a bind mount is no second one.
func (m Machine) fileSystems(ctx context.Context, f *found) map[string]any {
	text, err := m.text("proc/self/mountinfo")
	f.broken(err)
	systems, seen := map[string]any{}, map[string]bool{}
	for _, t := range mounts(text) {
		if !t.onMedium() || seen[t.device] || ctx.Err() != nil {
			continue
		}
		seen[t.device] = true
		room, err := m.room(t)
		if err != nil {
			f.broken(fmt.Errorf("statfs %s: %w", t.point, err))
			continue
		}
		systems[t.point] = room
	}
	return systems
}

// mounts lists the whole file systems before parts of them, short mount points before long ones.
func mounts(text string) []mount {
	var list []mount
	for line := range strings.Lines(text) {
		place, source, ok := strings.Cut(line, " - ")
		left, right := strings.Fields(place), strings.Fields(source)
		if ok && len(left) >= 5 && len(right) >= 2 {
			list = append(list, mount{number: left[2], root: left[3], point: unescape(left[4]), kind: right[0], device: unescape(right[1])})
		}
	}
	slices.SortStableFunc(list, func(a, b mount) int {
		if (a.root == "/") != (b.root == "/") {
			return len(a.root) - len(b.root)
		}
		return len(a.point) - len(b.point)
	})
	return list
}

// unescape undoes the octal escapes of white space and backslash in mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

func (m Machine) room(t mount) (map[string]any, error) {
	var s syscall.Statfs_t
	if err := m.Statfs(m.path(t.point), &s); err != nil {
		return nil, err
	}
	unit := uint64(max(s.Frsize, 0))
	if unit == 0 {
		unit = uint64(s.Bsize)
	}
	return map[string]any{
		"type": t.kind, "device": t.device,
		"size_bytes": s.Blocks * unit, "free_bytes": s.Bfree * unit, "available_bytes": s.Bavail * unit,
		"files": s.Files, "files_free": s.Ffree,
	}, nil
}

// sector is the unit of /proc/diskstats, whatever the medium's own is (Documentation/admin-guide/iostats.rst).
const sector = 512

var devicePlaces = map[string]int{"reads": 3, "read": 5, "writes": 7, "written": 9, "busy": 12}

// media is what whole devices have done since boot; partitions, loop and RAM devices are left out.
func (m Machine) media(ctx context.Context, f *found) map[string]any {
	text, err := m.text("proc/diskstats")
	f.broken(err)
	whole := m.entries(f, "sys/block")
	media := map[string]any{}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 3 || !slices.Contains(whole, words[2]) || virtual(words[2]) || ctx.Err() != nil {
			continue
		}
		counts, err := numbers(words, devicePlaces)
		if err != nil {
			f.broken(fmt.Errorf("parse diskstats: %s: %w", words[2], err))
			continue
		}
		media[words[2]] = m.medium(words[2], counts)
	}
	return media
}

func (m Machine) medium(name string, counts map[string]any) map[string]any {
	values := map[string]any{
		"reads": counts["reads"], "read_bytes": counts["read"].(uint64) * sector,
		"writes": counts["writes"], "written_bytes": counts["written"].(uint64) * sector,
		"busy_seconds": float64(counts["busy"].(uint64)) / 1e3,
	}
	m.wear(values, name)
	m.smart(values, name)
	return values
}

func virtual(name string) bool {
	return strings.HasPrefix(name, "loop") || strings.HasPrefix(name, "ram") || strings.HasPrefix(name, "zram")
}
