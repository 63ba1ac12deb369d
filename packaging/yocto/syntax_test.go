package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The statements of a recipe: BitBake User Manual, "Syntax and Operators".
var (
	assignment = regexp.MustCompile(`^(export )?[A-Za-z0-9_${}:.+/~-]+(\[[A-Za-z0-9_.-]+\])? *(=|:=|\?=|\?\?=|\+=|=\+|\.=|=\.) *["']`)
	statement  = regexp.MustCompile(`^(inherit|inherit_defer|require|include|addtask|deltask|addhandler|EXPORT_FUNCTIONS|unset|export) \S`)
	function   = regexp.MustCompile(`^(fakeroot )?(python )?(fakeroot )?([A-Za-z0-9_:${}-]*) *\( *\) *\{$`)
	pythonDef  = regexp.MustCompile(`^def \w+\(.*\):$`)
	expansion  = regexp.MustCompile(`\$\{[@A-Za-z0-9_](?:[^{}]|\{[^}]*\})*\}`)
)

// block is a function of a recipe.
type block struct {
	name, body string
	python     bool
}

// parse reads a recipe, and returns its functions; an error names the line that bitbake would not understand.
func parse(text string) ([]block, error) {
	var blocks []block
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		first := i
		line := lines[i]
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		for strings.HasSuffix(line, "\\") && i+1 < len(lines) {
			i++
			line = strings.TrimSuffix(line, "\\") + lines[i]
		}
		switch {
		case function.MatchString(line):
			m := function.FindStringSubmatch(line)
			end := i + 1
			for end < len(lines) && lines[end] != "}" {
				end++
			}
			if end == len(lines) {
				return nil, fmt.Errorf("line %d: %s has no end", first+1, m[4])
			}
			blocks = append(blocks, block{m[4], strings.Join(lines[i+1:end], "\n"), m[2] != ""})
			i = end
		case pythonDef.MatchString(line):
			for i+1 < len(lines) && (lines[i+1] == "" || strings.HasPrefix(lines[i+1], " ")) {
				i++
			}
		case assignment.MatchString(line):
			if err := quoted(line[len(assignment.FindString(line))-1:]); err != nil {
				return nil, fmt.Errorf("line %d: %w", first+1, err)
			}
		case !statement.MatchString(line):
			return nil, fmt.Errorf("line %d: no statement: %s", first+1, line)
		}
	}
	return blocks, nil
}

// quoted wants one value, which ends where its quotes do.
func quoted(value string) error {
	value = strings.TrimRight(value, " \t")
	mark := value[:1]
	if len(value) < 2 || !strings.HasSuffix(value, mark) {
		return fmt.Errorf("the value has no end: %s", value)
	}
	if strings.Contains(value[1:len(value)-1], mark) {
		return fmt.Errorf("a quote of the same kind within the value: %s", value)
	}
	return nil
}

// check asks the interpreters whether they understand the function.
func (b block) check() error {
	cmd := exec.Command("sh", "-n")
	text := expansion.ReplaceAllString(b.body, "value")
	if b.python {
		cmd = exec.Command("python3", "-c", "import ast, sys; ast.parse(sys.stdin.read())")
		text = "if True:\n" + b.body
	}
	cmd.Stdin = strings.NewReader(text + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", b.name, err, out)
	}
	return nil
}

func TestBitbakeUnderstandsEveryLine(t *testing.T) {
	functions := 0
	for _, file := range layerFiles(t, ".bb", ".inc", ".bbappend", ".bbclass", ".conf") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		blocks, err := parse(string(text))
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
		for _, b := range blocks {
			functions++
			if err := b.check(); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
	if functions == 0 {
		t.Error("no function in any recipe")
	}
}

func TestMistakesInARecipeAreFound(t *testing.T) {
	for _, wrong := range []string{
		`A = "b`, `A = "b" c"`, `A == "b"`, `do_install() {` + "\n\ttrue\n", `inherits go`, `A := b`, "A = \"b \\\n c",
	} {
		if _, err := parse(wrong); err == nil {
			t.Errorf("passes: %s", wrong)
		}
	}
	for _, wrong := range []block{{"do_install", "if true; then", false}, {"x", "    a = (", true}} {
		if wrong.check() == nil {
			t.Errorf("passes: %s", wrong.body)
		}
	}
}

func FuzzRecipe(f *testing.F) {
	f.Add("A = \"b\"\ndo_install() {\n\ttrue\n}\n")
	f.Add("A:append = ' ${@d.getVar(\"B\")}'\npython () {\n    pass\n}\ndef x(d):\n    return 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		blocks, err := parse(text)
		if err == nil && len(blocks) > strings.Count(text, "{") {
			t.Errorf("%d functions in %q", len(blocks), text)
		}
	})
}

func TestTheScriptsAreWhatTheirShellReads(t *testing.T) {
	scripts, _ := filepath.Glob("*.sh")
	health, _ := filepath.Glob("health/*")
	for _, file := range append(append(scripts, health...), "meta-devid-agent/scripts/no-keys.sh") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		shell := "sh"
		if strings.HasPrefix(string(text), "#!/bin/bash") {
			shell = "bash"
		}
		if !strings.HasPrefix(string(text), "#!/bin/") {
			continue // not a script
		}
		if out, err := exec.Command(shell, "-n", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %s", file, out)
		}
	}
	for _, file := range layerFiles(t, ".py") {
		if out, err := exec.Command("python3", "-c", "import ast, sys; ast.parse(open(sys.argv[1]).read())", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %s", file, out)
		}
	}
}

// kasCheck validates files against the schema that kas ships.
const kasCheck = `
import json, sys, glob
sys.path[:0] = glob.glob("/usr/share/kas") + ["/usr/lib/python3/dist-packages"]
import jsonschema, yaml
from kas.configschema import CONFIGSCHEMA
for path in sys.argv[1:]:
    jsonschema.validate(yaml.safe_load(open(path)), CONFIGSCHEMA)
`

func TestKasKnowsEveryKeyOfItsFiles(t *testing.T) {
	if _, err := exec.LookPath("kas"); err != nil {
		t.Skip("install kas")
	}
	files, _ := filepath.Glob("kas/*.yml")
	if len(files) == 0 {
		t.Fatal("no files for kas")
	}
	if out, err := exec.Command("/usr/bin/python3", append([]string{"-c", kasCheck}, files...)...).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	wrong := filepath.Join(t.TempDir(), "wrong.yml")
	if err := os.WriteFile(wrong, []byte("header: {version: 11}\nrepositories: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("/usr/bin/python3", "-c", kasCheck, wrong).Run(); err == nil {
		t.Error("the schema lets anything pass")
	}
}
