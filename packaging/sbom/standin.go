package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
)

// thirdParty is where the project keeps what packaging/build.sh links in place of modules.
const thirdParty = "./third_party/"

// settle finds where the sources of what replaces a module lie. What is all our own has the project's license, and its
// root for a place; what is made of the module's own sources has a license beside it.
func (p *program) settle() error {
	root := p.dirs[p.info.Main.Path]
	for _, m := range p.info.Deps {
		if m.Replace == nil {
			continue
		}
		if !strings.HasPrefix(m.Replace.Path, thirdParty) {
			return fmt.Errorf("%s is replaced by %s: what is released must be what go.mod names, or of this project", m.Path, m.Replace.Path)
		}
		p.dirs[m.Path] = root
		if dir := filepath.Join(root, m.Replace.Path); exists(filepath.Join(dir, "LICENSE")) {
			p.dirs[m.Path] = dir
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// own says whether m was replaced by what is all our own.
func (p *program) own(m *debug.Module) bool {
	return m.Replace != nil && p.dirs[m.Path] == p.dirs[p.info.Main.Path]
}

// standIn describes what is linked in place of m. What is made of m's sources keeps m's name, by which a scanner finds
// its vulnerabilities.
func (p *program) standIn(m *debug.Module, version string) (component, error) {
	names, err := licenses(m.Path, p.dirs[m.Path])
	place := strings.TrimPrefix(m.Replace.Path, "./")
	c := component{
		Type: "library", Name: m.Path, Version: m.Version, Scope: "required", Licenses: names, PURL: purl(m.Path, m.Version),
		Properties: []property{{"devid:go:changed-by", place}},
	}
	if p.own(m) {
		c.Name, c.Version = p.info.Main.Path+"/"+place, version
		c.PURL = purl(p.info.Main.Path, version) + "#" + place
		c.Properties = []property{{"devid:go:in-place-of", m.Path + "@" + m.Version}}
	}
	c.Ref = c.PURL
	return c, err
}
