package main

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// module is one that a recipe needs. Of most, the go command reads only go.mod, to choose the versions of the others.
type module struct {
	path, version string
	sum           string // SHA-256 of the .zip, or of the .mod where only that is needed
	whole         bool
	license       string // the file of a whole one, without directories
	md5           string // of that file, as LIC_FILES_CHKSUM wants it
}

// modules lists what building the program needs on all architectures: a cache that was empty tells, after the go command
// has filled it from the cache of this machine.
func (r recipe) modules(root string) ([]module, error) {
	cache, err := os.MkdirTemp("", "devid-yocto-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(cache)
	used := map[string]string{} // directories of the modules that are linked, by path
	for _, arch := range []string{"arm64", "arm", "amd64", "riscv64"} {
		if err := r.list(root, cache, arch, used); err != nil {
			return nil, err
		}
	}
	return downloaded(cache, used)
}

// list notes in used what r is made of on arch.
func (r recipe) list(root, cache, arch string, used map[string]string) error {
	mirror, err := exec.Command("go", "env", "GOMODCACHE", "GOPROXY").Output()
	if err != nil {
		return fmt.Errorf("ask go for its cache: %w", err)
	}
	lines := strings.Fields(string(mirror))
	cmd := exec.Command("go", "list", "-deps", "-json=Module", "-tags="+r.tags, "./cmd/"+r.program)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED="+r.cgo, "GOMODCACHE="+cache, "GOWORK=off",
		"GOPROXY=file://"+lines[0]+"/cache/download,"+strings.Join(lines[1:], ","), "GOSUMDB=off", "GOFLAGS=-mod=readonly -modcacherw")
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("list the modules on %s: %w: %s", arch, err, complaint.Bytes())
	}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			Module *struct {
				Path, Dir string
				Main      bool
			}
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if p.Module != nil && !p.Module.Main {
			used[p.Module.Path] = p.Module.Dir
		}
	}
}

// downloaded lists what the go command has put into cache, by path.
func downloaded(cache string, used map[string]string) ([]module, error) {
	top := filepath.Join(cache, "cache/download")
	var all []module
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		ext := filepath.Ext(path)
		if err != nil || filepath.Base(filepath.Dir(path)) != "@v" || ext != ".zip" && ext != ".mod" {
			return err
		}
		stem := strings.TrimSuffix(path, ext)
		if _, err := os.Stat(stem + ".zip"); err == nil && ext == ".mod" {
			return nil // bitbake takes it out of the .zip
		}
		escaped, version, _ := strings.Cut(strings.TrimPrefix(stem, top+"/"), "/@v/")
		m := module{path: unescape(escaped), version: version, whole: ext == ".zip"}
		if m.sum, err = sum(path); err == nil && m.whole {
			err = m.findLicense(used[m.path])
		}
		all = append(all, m)
		return err
	})
	slices.SortFunc(all, func(a, b module) int { return strings.Compare(a.path+"@"+a.version, b.path+"@"+b.version) })
	return all, err
}

// findLicense looks for the license of m, whose sources lie in dir.
func (m *module) findLicense(dir string) error {
	for _, pattern := range []string{"LICEN[CS]E*", "COPYING*"} {
		if found, _ := filepath.Glob(filepath.Join(dir, pattern)); dir != "" && len(found) > 0 {
			text, err := os.ReadFile(found[0])
			m.license, m.md5 = filepath.Base(found[0]), fmt.Sprintf("%x", md5.Sum(text))
			return err
		}
	}
	return fmt.Errorf("%s: no license in %q", m.path, dir)
}

func sum(path string) (string, error) {
	b, err := os.ReadFile(path)
	return fmt.Sprintf("%x", sha256.Sum256(b)), err
}

// unescape turns the path of a file in the cache into that of its module: an exclamation mark stands before a letter that
// is a capital one (Go Modules Reference, Module cache).
func unescape(path string) string {
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] == '!' && i+1 < len(path) {
			i++
			b.WriteByte(path[i] - 'a' + 'A')
			continue
		}
		b.WriteByte(path[i])
	}
	return b.String()
}

// escape is the other way round.
func escape(path string) string {
	var b strings.Builder
	for _, c := range []byte(path) {
		if c >= 'A' && c <= 'Z' {
			b.WriteByte('!')
			c += 'a' - 'A'
		}
		b.WriteByte(c)
	}
	return b.String()
}
