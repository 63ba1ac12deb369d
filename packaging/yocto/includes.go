package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const notice = `# Made by "go run ./packaging/yocto" from go.mod and go.sum. Do not change it by hand.

`

// includes are the generated files of r, by name: where its modules come from, and the licenses that they are under, for
// modules in the module cache and for those in the vendor directory of a release tarball.
func (r recipe) includes(root string) (map[string]string, error) {
	modules, err := r.modules(root)
	if err != nil {
		return nil, err
	}
	license, err := r.licenses(root)
	if err != nil {
		return nil, err
	}
	var sources, cached, vendored []string
	for _, m := range modules {
		sources = append(sources, m.source())
		if m.whole {
			cached = append(cached, fmt.Sprintf("file://pkg/mod/%s@%s/%s;md5=%s", escape(m.path), escape(m.version), m.license, m.md5))
			vendored = append(vendored, fmt.Sprintf("file://src/${GO_IMPORT}/vendor/%s/%s;md5=%s", m.path, m.license, m.md5))
		}
	}
	license = notice + "LICENSE += \"& " + license + "\"\n\n"
	return map[string]string{
		r.name + "-go-mods.inc":         notice + list("SRC_URI", sources),
		r.name + "-licenses.inc":        license + list("LIC_FILES_CHKSUM", cached),
		r.name + "-licenses-vendor.inc": license + list("LIC_FILES_CHKSUM", vendored),
	}, nil
}

// source is what bitbake fetches and checks.
func (m module) source() string {
	if m.whole {
		return fmt.Sprintf("gomod://%s;version=%s;sha256sum=%s", m.path, m.version, m.sum)
	}
	return fmt.Sprintf("gomod://%s;version=%s;mod=1;sha256sum=%s", m.path, m.version, m.sum)
}

func list(variable string, values []string) string {
	return variable + " += \"\\\n    " + strings.Join(values, " \\\n    ") + " \\\n\"\n"
}

// licenses is what the modules of the program are under, in bitbake's words. packaging/sbom knows: it reads the program.
func (r recipe) licenses(root string) (string, error) {
	dir, err := os.MkdirTemp("", "devid-yocto-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	built := filepath.Join(dir, r.name)
	for _, args := range [][]string{
		{"build", "-trimpath", "-tags=" + r.tags, "-o", built, "./cmd/" + r.program},
		{"run", "./packaging/sbom", built},
	} {
		cmd := exec.Command("go", args...)
		cmd.Dir = root
		cmd.Env = append(os.Environ(), "CGO_ENABLED="+r.cgo, "SOURCE_DATE_EPOCH=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("go %s: %w: %s", args[0], err, out)
		}
	}
	return told(built + ".cdx.json")
}

// told reads the licenses of a program's modules out of its SBOM.
func told(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var b struct {
		Components []struct {
			Type     string
			Licenses []struct {
				License    struct{ ID string }
				Expression string
			}
		}
	}
	if err := json.Unmarshal(text, &b); err != nil {
		return "", err
	}
	var all []string
	for _, c := range b.Components {
		for _, l := range c.Licenses {
			all = append(all, bitbake(l.License.ID+l.Expression)...)
		}
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), " & "), nil
}

// bitbake is an SPDX expression as the terms of a LICENSE: "|" for OR, and each side of an AND is one of them.
func bitbake(expression string) []string {
	terms := strings.Split(expression, " AND ")
	for i, t := range terms {
		if strings.Contains(t, " OR ") {
			terms[i] = "(" + strings.Trim(strings.ReplaceAll(t, " OR ", " | "), "()") + ")"
		}
	}
	return terms
}
