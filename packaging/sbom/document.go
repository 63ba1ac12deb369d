package main

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// The parts of CycloneDX 1.6 (ECMA-424) that a Go program needs.
type (
	bom struct {
		Schema       string       `json:"$schema"`
		Format       string       `json:"bomFormat"`
		Spec         string       `json:"specVersion"`
		Serial       string       `json:"serialNumber"`
		Version      int          `json:"version"`
		Metadata     metadata     `json:"metadata"`
		Components   []component  `json:"components"`
		Dependencies []dependency `json:"dependencies"`
	}
	metadata struct {
		Timestamp  string `json:"timestamp"`
		Lifecycles []any  `json:"lifecycles"`
		Tools      struct {
			Components []component `json:"components"`
		} `json:"tools"`
		Component component `json:"component"`
	}
	component struct {
		Ref        string          `json:"bom-ref,omitempty"`
		Type       string          `json:"type"`
		Name       string          `json:"name"`
		Version    string          `json:"version,omitempty"`
		Scope      string          `json:"scope,omitempty"`
		Hashes     []hash          `json:"hashes,omitempty"`
		Licenses   []licenseChoice `json:"licenses,omitempty"`
		PURL       string          `json:"purl,omitempty"`
		Properties []property      `json:"properties,omitempty"`
	}
	hash struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"`
	}
	licenseChoice struct {
		License    *license `json:"license,omitempty"`
		Expression string   `json:"expression,omitempty"`
	}
	license struct {
		ID string `json:"id"`
	}
	property struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	dependency struct {
		Ref string   `json:"ref"`
		On  []string `json:"dependsOn,omitempty"`
	}
)

// document describes p: the program, the modules in it, the Go library and toolchain that made it, and the libraries of
// the system that it needs.
func document(p *program, version string, made time.Time) (*bom, error) {
	b := &bom{
		Schema: "http://cyclonedx.org/schema/bom-1.6.schema.json", Format: "CycloneDX", Spec: "1.6", Serial: serial(p.sum), Version: 1,
		Components: []component{standard(p)},
	}
	b.Metadata.Timestamp = made.Format(time.RFC3339)
	b.Metadata.Lifecycles = []any{map[string]string{"phase": "build"}}
	b.Metadata.Tools.Components = []component{
		{Type: "application", Name: "devid-agent packaging/sbom", Version: version},
		{Type: "application", Name: "go", Version: strings.TrimPrefix(p.info.GoVersion, "go")},
	}
	b.Metadata.Component = root(p, version)
	refs := map[string]string{"std": b.Components[0].Ref, p.info.Main.Path: b.Metadata.Component.Ref}
	for _, m := range p.info.Deps {
		c, err := p.module(m, version)
		if err != nil {
			return nil, err
		}
		refs[m.Path] = c.Ref
		b.Components = append(b.Components, c)
	}
	b.Dependencies = dependencies(p.edges, refs)
	for _, l := range p.libraries {
		b.Components = append(b.Components, component{Ref: "system:" + l, Type: "library", Name: l, Scope: "required"})
		b.Dependencies = append(b.Dependencies, dependency{Ref: "system:" + l})
		b.needs(b.Metadata.Component.Ref, "system:"+l)
	}
	return b, nil
}

func root(p *program, version string) component {
	c := component{
		Type: "application", Name: p.name, Version: version,
		Hashes:   []hash{{"SHA-256", p.digest()}},
		Licenses: []licenseChoice{{License: &license{"Apache-2.0"}}},
		PURL:     purl(p.info.Main.Path, version) + "#" + strings.TrimPrefix(p.info.Path, p.info.Main.Path+"/"),
		Properties: []property{
			{"devid:go:arch", p.setting("GOOS") + "/" + p.arch()},
			{"devid:go:cgo", p.setting("CGO_ENABLED")},
			{"devid:go:tags", p.setting("-tags")},
		},
	}
	c.Ref = c.PURL
	return c
}

func standard(p *program) component {
	version := strings.TrimPrefix(p.info.GoVersion, "go")
	at := "pkg:golang/std@" + version
	return component{
		Ref: at, Type: "library", Name: "std", Version: version, Scope: "required", PURL: at,
		Licenses: []licenseChoice{{License: &license{"BSD-3-Clause"}}},
	}
}

// module describes m as it was linked. Its sum is Go's own hash over its files (golang.org/x/mod/sumdb/dirhash, h1),
// which is no hash of one file, and so stands under its own name.
func (p *program) module(m *debug.Module, version string) (component, error) {
	if m.Replace != nil {
		return p.standIn(m, version)
	}
	names, err := licenses(m.Path, p.dirs[m.Path])
	if err != nil {
		return component{}, err
	}
	c := component{
		Type: "library", Name: m.Path, Version: m.Version, Scope: "required",
		Licenses: names, PURL: purl(m.Path, m.Version),
		Properties: []property{{"devid:go:sum", m.Sum}},
	}
	c.Ref = c.PURL
	if _, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(m.Sum, "h1:")); err != nil {
		return component{}, fmt.Errorf("%s: the sum %q: %w", m.Path, m.Sum, err)
	}
	return c, nil
}

// purl is the package URL of a Go module (purl-spec, type golang): "+" of a version is escaped.
func purl(path, version string) string {
	return "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B")
}

func dependencies(edges map[string][]string, refs map[string]string) []dependency {
	var all []dependency
	for _, path := range slices.Sorted(maps.Keys(refs)) {
		d := dependency{Ref: refs[path]}
		for _, on := range edges[path] {
			if ref, ok := refs[on]; ok {
				d.On = append(d.On, ref)
			}
		}
		slices.Sort(d.On)
		all = append(all, d)
	}
	return all
}

func (b *bom) needs(ref, on string) {
	for i := range b.Dependencies {
		if b.Dependencies[i].Ref == ref {
			b.Dependencies[i].On = append(b.Dependencies[i].On, on)
		}
	}
}

// serial is a UUID of version 8 (RFC 9562, 5.8) made of the program's own hash: the same program has the same document.
func serial(sum [32]byte) string {
	u := sum[:16]
	u[6] = u[6]&0x0f | 0x80
	u[8] = u[8]&0x3f | 0x80
	h := hex.EncodeToString(u)
	return "urn:uuid:" + h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
