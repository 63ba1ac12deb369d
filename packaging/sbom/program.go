package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
)

// program is what a built program tells of itself.
type program struct {
	name      string
	sum       [sha256.Size]byte
	info      *debug.BuildInfo
	libraries []string            // shared libraries that it is linked with
	edges     map[string][]string // which module uses which, by path; the standard library is "std"
	dirs      map[string]string   // where the sources of a module lie
}

func inspect(path string) (*program, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	info, err := buildinfo.Read(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	file, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	libraries, err := file.ImportedLibraries()
	if err != nil {
		return nil, err
	}
	p := &program{name: filepath.Base(path), sum: sha256.Sum256(content), info: info, libraries: libraries}
	return p, p.list()
}

func (p *program) digest() string { return hex.EncodeToString(p.sum[:]) }

func (p *program) setting(key string) string {
	for _, s := range p.info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}

// listed is a package as the go command describes it.
type listed struct {
	Standard   bool
	Imports    []string
	ImportPath string
	Root       string // of the toolchain, for its own packages
	Module     *struct{ Path, Dir string }
}

func (l listed) module() string {
	if l.Standard || l.Module == nil {
		return "std"
	}
	return l.Module.Path
}

// list asks the go command which package imports which, in the build that made the program.
func (p *program) list() error {
	cmd := exec.Command("go", "list", "-deps", "-json=Standard,Imports,ImportPath,Root,Module", "-tags="+p.setting("-tags"), p.info.Path)
	cmd.Env = os.Environ()
	for _, key := range []string{"GOOS", "GOARCH", "GOARM", "CGO_ENABLED"} {
		if value := p.setting(key); value != "" {
			cmd.Env = append(cmd.Env, key+"="+value)
		}
	}
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("list the packages of %s: %w: %s", p.info.Path, err, complaint.String())
	}
	if err := p.read(bytes.NewReader(out)); err != nil {
		return err
	}
	return p.settle()
}

func (p *program) read(list io.Reader) error {
	var all []listed
	for d := json.NewDecoder(list); ; {
		var l listed
		if err := d.Decode(&l); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		all = append(all, l)
	}
	home := map[string]string{"C": "std"}
	p.dirs = map[string]string{}
	for _, l := range all {
		home[l.ImportPath] = l.module()
		if l.Module != nil {
			p.dirs[l.Module.Path] = l.Module.Dir
		} else {
			p.dirs["std"] = l.Root
		}
	}
	p.edges = map[string][]string{}
	for _, l := range all {
		for _, i := range l.Imports {
			from, to := l.module(), home[i]
			if to != "" && from != to && !slices.Contains(p.edges[from], to) {
				p.edges[from] = append(p.edges[from], to)
			}
		}
	}
	return nil
}

// arch is the architecture in the words of the build: arm64, arm/7.
func (p *program) arch() string {
	return strings.TrimSuffix(p.setting("GOARCH")+"/"+strings.Split(p.setting("GOARM"), ",")[0], "/")
}
