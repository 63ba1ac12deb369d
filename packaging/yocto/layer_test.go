package main

import (
	"crypto/md5"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// find is what the first group of pattern matches in text.
func find(t *testing.T, pattern, text string) string {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no %s", pattern)
	}
	return m[1]
}

// layerFiles are the files of the layer whose names end in one of suffixes.
func layerFiles(t *testing.T, suffixes ...string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir("meta-devid-agent", func(path string, _ fs.DirEntry, err error) error {
		for _, suffix := range suffixes {
			if strings.HasSuffix(path, suffix) {
				all = append(all, path)
			}
		}
		return err
	})
	if err != nil || len(all) == 0 {
		t.Fatal(err, all)
	}
	return all
}

func TestTheModulesOfTheRecipesAreThoseOfGoSum(t *testing.T) {
	sums := read(t, "go.sum")
	for _, r := range recipes {
		files, err := r.includes(root)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range files {
			if got := read(t, filepath.Join(layer, name)); got != want {
				t.Errorf("%s is not in step with go.sum: go run ./packaging/yocto\nwant:\n%s", name, want)
			}
		}
		for _, m := range regexp.MustCompile(`gomod://(\S+);version=([^;]+);`).FindAllStringSubmatch(files[r.name+"-go-mods.inc"], -1) {
			if !strings.Contains(sums, m[1]+" "+m[2]+" ") && !strings.Contains(sums, m[1]+" "+m[2]+"/go.mod ") {
				t.Errorf("go.sum does not know %s %s", m[1], m[2])
			}
		}
	}
}

func TestTheRecipesBuildAsTheMakefileDoes(t *testing.T) {
	makefile, recipe := read(t, "Makefile"), read(t, layer+"/devid-agent.bb")
	tags := find(t, `(?m)^TAGS\s*:= (.*)$`, makefile)
	flags := find(t, `(?m)^GCFLAGS\s*:= (.*)$`, makefile)
	if want := "-tags " + tags + " " + flags; !strings.Contains(recipe, want) {
		t.Errorf("devid-agent.bb does not say %s", want)
	}
	if recipes[0].tags != tags {
		t.Errorf("the modules are listed with the tags %q, and the agent is built with %q", recipes[0].tags, tags)
	}
	if !strings.Contains(makefile, "-X main.release=") || !strings.Contains(read(t, layer+"/devid.inc"), "-X main.release=") {
		t.Error("the version goes in by another variable")
	}
}

func TestTheVersionIsThatOfTheProgram(t *testing.T) {
	recipe := find(t, `DEVID_VERSION = "([^"]+)"`, read(t, layer+"/devid-release.inc"))
	program := find(t, `release = "([0-9.]+)-dev"`, read(t, "cmd/agent/main.go"))
	if pinned(t) == "" && recipe != program {
		t.Errorf("the recipes are of %s, and the program is of %s", recipe, program)
	}
}

// pinned is the revision that users get, or "".
func pinned(t *testing.T) string {
	t.Helper()
	return find(t, `DEVID_SRCREV = "([0-9a-f]*)"`, read(t, layer+"/devid-release.inc"))
}

func TestThePinnedReleaseHasTheModulesOfItsRevision(t *testing.T) {
	revision := pinned(t)
	if revision == "" {
		if !strings.Contains(read(t, layer+"/devid.inc"), "no release is pinned yet") {
			t.Error("without a release, the recipes do not say what to do")
		}
		return
	}
	for _, r := range recipes {
		for _, end := range []string{"-go-mods.inc", "-licenses.inc", "-licenses-vendor.inc"} {
			then, err := exec.Command("git", "show", revision+":"+layer+"/"+r.name+end).Output()
			if err != nil {
				t.Fatalf("%s of the pinned revision %s: %v", r.name+end, revision, err)
			}
			if read(t, filepath.Join(layer, "release", r.name+end)) != string(then) {
				t.Errorf("release/%s is not that of %s: packaging/yocto/pin.sh", r.name+end, revision)
			}
		}
	}
}

func TestTheOldestGoIsTheOneThatTheRecipesAskFor(t *testing.T) {
	want := find(t, `(?m)^go (1\.[0-9]+)`, read(t, "go.mod"))
	asked := find(t, `< \[1, ([0-9]+)\]`, read(t, layer+"/devid.inc"))
	if "1."+asked != want {
		t.Errorf("go.mod wants Go %s, and the recipes are skipped below 1.%s", want, asked)
	}
	if !strings.Contains(read(t, "packaging/yocto/meta-devid-agent/README.md"), "Go "+want) {
		t.Errorf("README.md does not say how each release gets Go %s", want)
	}
	if strings.Contains(read(t, "go.mod"), "\ntoolchain ") {
		t.Error("a toolchain line makes the go command fetch, where there is no network")
	}
}

func TestTheLicenseIsTheProjects(t *testing.T) {
	license := read(t, "LICENSE")
	if read(t, "packaging/yocto/meta-devid-agent/LICENSE") != license {
		t.Error("LICENSE of the layer is another one")
	}
	if sum := fmt.Sprintf("LICENSE;md5=%x\"", md5.Sum([]byte(license))); !strings.Contains(read(t, layer+"/devid.inc"), sum) {
		t.Errorf("devid.inc does not say %s", sum)
	}
	if !strings.Contains(read(t, "packaging/deb/debian/copyright"), "License: Apache-2.0") {
		t.Error("the Debian package has another license")
	}
}

// forOne of the two packages only, and why.
var forOne = map[string]string{
	"packaging/boot/sysv.sh":                "Debian 12 and later boot by systemd",
	"packaging/completion/devid-agent.zsh":  "OpenEmbedded has a class for bash's only",
	"packaging/completion/devid-agent.fish": "OpenEmbedded has a class for bash's only",
	"packaging/deb/libc.sh":                 "dependencies of a Debian package",
	"packaging/man.sh":                      "asks the program, which bitbake cannot run",
	"packaging/sbom":                        "bitbake writes an SBOM itself",
}

func TestRecipeAndDebianPackageInstallTheSameFiles(t *testing.T) {
	recipe := read(t, layer+"/devid-agent.bb")
	recipe = strings.ReplaceAll(strings.ReplaceAll(recipe, "$boot", "packaging/boot"), "${DEVID_SOURCE}/", "")
	deb := read(t, "packaging/deb/debian/rules") + read(t, "packaging/deb/debian/devid-agent.install")
	named := regexp.MustCompile(`packaging/(?:boot|completion)/[a-zA-Z0-9._-]+|packaging/[a-z]+\.sh`)
	for _, file := range append(named.FindAllString(recipe, -1), named.FindAllString(deb, -1)...) {
		if _, err := os.Stat(filepath.Join(root, file)); err != nil {
			t.Errorf("a package installs %s: %v", file, err)
		}
		if strings.Contains(recipe, file) != strings.Contains(deb, file) && forOne[file] == "" {
			t.Errorf("%s: in the recipe %v, in the Debian package %v", file, strings.Contains(recipe, file), strings.Contains(deb, file))
		}
	}
	for _, path := range []string{"${bindir}/devid-agent", "${sysconfdir}/devid-agent/agent.yaml", "rules.d/59-devid-agent.rules"} {
		if !strings.Contains(recipe, path) {
			t.Errorf("the recipe does not install %s, as the Debian package does", path)
		}
	}
}

func TestNothingIsLeftToTheFirstBootAndNothingIsFetchedLate(t *testing.T) {
	for _, file := range layerFiles(t, ".bb", ".inc", ".bbappend", ".bbclass") {
		text := read(t, "packaging/yocto/"+file)
		for word, why := range map[string]string{
			"ontarget":  "a read-only root file system cannot be made with it",
			"[network]": "only do_fetch may use the network",
			"AUTOREV":   "the source of a release is pinned",
		} {
			if strings.Contains(text, word) {
				t.Errorf("%s: %s: %s", file, word, why)
			}
		}
	}
}

func TestTheLayerHasWhatTheLayerCheckReads(t *testing.T) {
	readme := strings.ToLower(read(t, "packaging/yocto/meta-devid-agent/README.md"))
	for _, word := range []string{"maintainer", "patch", "@", "dependencies"} {
		if !strings.Contains(readme, word) {
			t.Errorf("README.md does not speak of %q", word)
		}
	}
	if read(t, "packaging/yocto/meta-devid-agent/SECURITY.md") == "" {
		t.Error("SECURITY.md is empty")
	}
	series := find(t, `LAYERSERIES_COMPAT_devid-agent = "([^"]*)"`, read(t, "packaging/yocto/meta-devid-agent/conf/layer.conf"))
	for _, release := range strings.Fields(series) {
		if _, err := os.Stat(filepath.Join("kas", release+".yml")); err != nil {
			t.Errorf("the layer says %s: %v", release, err)
		}
	}
}
