package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func newTestDisk(t *testing.T, pieces int) *disk {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, make([]byte, pieces*piece), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := openDisk(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.file.Close() })
	return d
}

// content is the one byte that fills each piece, and fails where a piece is torn.
func content(t *testing.T, d *disk) (all []byte) {
	t.Helper()
	b, err := os.ReadFile(d.file.Name())
	if err != nil {
		t.Fatal(err)
	}
	for p := range slices.Chunk(b, piece) {
		if !bytes.Equal(p, bytes.Repeat(p[:1], piece)) {
			t.Fatal("a piece is torn")
		}
		all = append(all, p[0])
	}
	return all
}

func filled(with byte, pieces int) []byte { return bytes.Repeat([]byte{with}, pieces*piece) }

func TestAPowerCutForgetsNothingThatWasFlushed(t *testing.T) {
	d := newTestDisk(t, 64)
	if err := d.write(0, filled(1, 64)); err != nil {
		t.Fatal(err)
	}
	if err := d.flush(); err != nil {
		t.Fatal(err)
	}
	if kept, forgotten, err := d.cut(); err != nil || kept+forgotten != 0 {
		t.Fatalf("%d kept, %d forgotten, %v: nothing was pending", kept, forgotten, err)
	}
	if got := content(t, d); !bytes.Equal(got, bytes.Repeat([]byte{1}, 64)) {
		t.Errorf("the disk holds %v", got)
	}
}

func TestAPowerCutForgetsSomeOfWhatWasNot(t *testing.T) {
	d := newTestDisk(t, 64)
	for value := byte(1); value <= 2; value++ { // what lies under a forgotten write may be a forgotten write
		if err := d.write(0, filled(value, 64)); err != nil {
			t.Fatal(err)
		}
	}
	kept, forgotten, err := d.cut()
	if err != nil || kept+forgotten != 128 || kept == 0 || forgotten == 0 {
		t.Fatalf("%d kept, %d forgotten, %v: want some of 128 each", kept, forgotten, err)
	}
	seen := map[byte]int{}
	for _, value := range content(t, d) {
		seen[value]++
	}
	if seen[0] == 0 || seen[1] == 0 || seen[2] == 0 || len(seen) != 3 {
		t.Errorf("64 pieces by value: %v, want some of each", seen)
	}
}

func TestThePowerGoesBeforeTheFlush(t *testing.T) {
	d := newTestDisk(t, 1)
	d.set(func() bool { return true })
	if err := d.flush(); err != nil {
		t.Fatalf("a flush of nothing: %v", err)
	}
	if err := d.write(0, filled(1, 1)); err != nil {
		t.Fatal(err)
	}
	if err := d.flush(); err != io.EOF {
		t.Fatalf("flush: %v, want the end of the session", err)
	}
	if kept, forgotten, err := d.cut(); err != nil || kept+forgotten != 1 {
		t.Errorf("%d kept, %d forgotten, %v: want the one that was not flushed", kept, forgotten, err)
	}
}
