package house

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/devid-agent/devid-agent"

type listed struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
	GoFiles, TestGoFiles, XTestGoFiles []string
	Standard                           bool
}

// packages lists the module's packages as the go command sees them.
func packages(t *testing.T) []listed {
	t.Helper()
	look(t, "../..")
	cmd := exec.Command("go", "list", "-json", "./...")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1") // else the files of hsm/module are not listed
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// look stats every source file below root: what the go command reads for us is otherwise unknown to its test cache, and
// an old result would be repeated.
func look(t *testing.T, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".go" {
			_, err = os.Stat(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// room is the package's place in the drawing, and whether it is ours at all.
func room(path string) (string, bool) {
	name, ours := strings.CutPrefix(path, module+"/")
	return name, ours
}

func TestImportsMatchTheDrawing(t *testing.T) {
	for _, p := range packages(t) {
		name, _ := room(p.ImportPath)
		allowed, drawn := Rooms[name]
		if !drawn && len(p.GoFiles) > 0 {
			t.Errorf("%s is not in the drawing: add it to internal/house and docs/architecture.md", name)
		}
		for _, path := range p.Imports {
			if other, ours := room(path); ours && !slices.Contains(allowed, other) {
				t.Errorf("%s imports %s: the drawing allows %v", name, other, allowed)
			}
		}
	}
}

func TestEachRoomOfTheDrawingExists(t *testing.T) {
	var names []string
	for _, p := range packages(t) {
		name, _ := room(p.ImportPath)
		names = append(names, name)
	}
	for name := range Rooms {
		if !slices.Contains(names, name) {
			t.Errorf("%s is in the drawing and nowhere else", name)
		}
	}
}

func TestEachDoorOfTheDrawingIsUsed(t *testing.T) {
	for _, p := range packages(t) {
		name, _ := room(p.ImportPath)
		for _, door := range Rooms[name] {
			if !slices.Contains(p.Imports, module+"/"+door) {
				t.Errorf("the drawing allows %s to import %s, and it does not", name, door)
			}
		}
		for mod, rooms := range Outside {
			within := func(path string) bool { return path == mod || strings.HasPrefix(path, mod+"/") }
			if slices.Contains(rooms, name) && !slices.ContainsFunc(p.Imports, within) {
				t.Errorf("the drawing allows %s to import %s, and it does not", name, mod)
			}
		}
	}
}

func TestShippedPackagesImportNoTestPackages(t *testing.T) {
	for _, p := range packages(t) {
		for _, path := range p.Imports {
			if name, ours := room(path); ours && forTests(name) && !forTests(p.ImportPath) {
				t.Errorf("%s imports %s", p.ImportPath, name)
			}
		}
	}
}

// forTests says by a package's name that nothing but tests stands on it.
func forTests(name string) bool { return strings.HasSuffix(name, "test") && name != "attest" }

func TestTheSimulatorSharesNoCodeWithTheAgentNotEvenInItsTests(t *testing.T) {
	for _, p := range packages(t) {
		if name, _ := room(p.ImportPath); name != "sim" {
			continue
		}
		for _, path := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if other, ours := room(path); ours && other != "sim" {
				t.Errorf("sim imports %s", other)
			}
		}
	}
}

func TestThirdPartyModulesStayInTheirRooms(t *testing.T) {
	for _, p := range packages(t) {
		name, _ := room(p.ImportPath)
		for _, path := range p.Imports {
			if _, ours := room(path); ours || !strings.Contains(strings.Split(path, "/")[0], ".") {
				continue
			}
			if !allowedOutside(name, path) {
				t.Errorf("%s imports %s: a dependency is a decision, see Outside in internal/house", name, path)
			}
		}
	}
}

func allowedOutside(name, path string) bool {
	for mod, rooms := range Outside {
		if (path == mod || strings.HasPrefix(path, mod+"/")) && slices.Contains(rooms, name) {
			return true
		}
	}
	return false
}
