package main

import (
	"bytes"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// helpOf is what the program says when it is asked for help.
func helpOf(t *testing.T, args ...string) string {
	t.Helper()
	var out, errOut bytes.Buffer
	if code := execute(t.Context(), args, &out, &errOut); code != 0 || out.Len() > 0 {
		t.Fatalf("%v: %d %s", args, code, &out)
	}
	return errOut.String()
}

// flagsOf are those of a command, as it is typed.
func flagsOf(t *testing.T, command []string) (flags []string) {
	t.Helper()
	for _, m := range regexp.MustCompile(`(?m)^  -([a-z-]+)`).FindAllStringSubmatch(helpOf(t, append(command, "--help")...), -1) {
		flags = append(flags, m[1])
	}
	return flags
}

// talker is a directory with a devid-agent that can do nothing but tell what it could do.
func talker(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	place(t, dir, "devid-agent", []byte("#!/bin/sh\ncat \""+dir+"/$*\" >&2\n"), 0o755)
	for _, c := range commandLine().Commands {
		place(t, dir, c.Name+" --help", []byte(helpOf(t, append(strings.Fields(c.Name), "--help")...)), 0o644)
	}
	place(t, dir, "help", []byte(helpOf(t, "help")), 0o644)
	return dir
}

func TestEachCommandSaysWhatItDoesAndWhatItTakes(t *testing.T) {
	all := helpOf(t, "help")
	for _, c := range commandLine().Commands {
		words := strings.Fields(c.Name)
		own := helpOf(t, append(words, "--help")...)
		if !strings.Contains(all, "  "+strings.TrimSpace(c.Name+" "+c.Takes)+"  ") || !strings.Contains(own, c.About) || own != helpOf(t, append([]string{"help"}, words...)...) {
			t.Errorf("%s: %s", c.Name, own)
		}
		for _, name := range []string{"config", "json"} {
			if !slices.Contains(flagsOf(t, words), name) {
				t.Errorf("%s takes no --%s", c.Name, name)
			}
		}
		var out, errOut bytes.Buffer
		if code := execute(t.Context(), append(words, "--no-such-flag"), &out, &errOut); code != exitUsage {
			t.Errorf("%s with a flag that is none: %d", c.Name, code)
		}
		if strings.HasSuffix(c.About, ".") || c.About == "" || c.About[0] != strings.ToLower(c.About)[0] {
			t.Errorf("%s: %q is not told as the others are", c.Name, c.About)
		}
	}
}

// The page is made of what the program says: packaging/man.sh.
func TestTheManualPageHasEveryCommandAndFlag(t *testing.T) {
	page, err := os.Open("../../packaging/man/devid-agent.8")
	if err != nil {
		t.Fatal(err)
	}
	defer page.Close()
	cmd := exec.Command("sh", "../../packaging/man.sh", filepath.Join(talker(t), "devid-agent"))
	cmd.Stdin, cmd.Env = page, append(os.Environ(), "DATE=today", "VERSION=1")
	text, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for s := range strings.SplitSeq(strings.ReplaceAll(string(text), `\-`, "-"), "\n.SS ") {
		title, below, _ := strings.Cut(s, "\n")
		below, _, _ = strings.Cut(below, "\n.SH ")
		sections[strings.Trim(title, `"`)] = below
	}
	for _, c := range commandLine().Commands {
		section, there := sections[strings.TrimSpace(c.Name+" "+c.Takes)]
		if !there || !strings.Contains(section, c.About) {
			t.Errorf("the page has no section on %s, or %q is not in it", c.Name, c.About)
		}
		for _, name := range flagsOf(t, strings.Fields(c.Name)) {
			if common := name == "config" || name == "json"; common == strings.Contains(section, `\fB-`+name+`\fR`) {
				t.Errorf("%s: -%s is missing, or is told again:\n%s", c.Name, name, section)
			}
		}
	}
	for _, code := range []string{"1", "2", "78"} {
		if !strings.Contains(string(text), "\n.TP\n"+code+"\n") {
			t.Errorf("exit status %s is not told", code)
		}
	}
}

// The completions ask the program, and so they know no less than it does, as long as they understand what it says.
func TestTheShellCompletesEveryCommandAndFlag(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("apt-get install bash")
	}
	dir := talker(t)
	complete := func(typed ...string) []string {
		script := `source ../../packaging/completion/devid-agent.bash
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _devid_agent; printf '%s\n' "${COMPREPLY[@]}"`
		cmd := exec.Command(bash, append([]string{"-c", script, "bash", "devid-agent"}, typed...)...)
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
		said, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Fields(string(said))
	}
	for _, c := range commandLine().Commands {
		words := strings.Fields(c.Name)
		for i, word := range words {
			if got := complete(append(slices.Clone(words[:i]), word[:1])...); !slices.Contains(got, word) {
				t.Errorf("%s: of %q becomes %q", c.Name, word[:1], got)
			}
		}
		got := complete(append(words, "-")...)
		for _, name := range flagsOf(t, words) {
			if !slices.Contains(got, "--"+name) {
				t.Errorf("%s: --%s is not completed: %q", c.Name, name, got)
			}
		}
	}
}

// typedLine finds command lines of the agent in a document: in a block of code, or in a span of their own.
var typedLine = regexp.MustCompile("(?m)(?:^ *(?:\\$ |sudo |[a-z/]*bin/)*|-- |`(?:[a-z/]*bin/)?|&& |; |\\$\\()devid-agent ([a-z][^`#|;&>)\n]*?)(?: 2)?[`#|;&>)\n]")

// fits says whether the program understands the line. In prose a command may stand without what it takes.
func fits(line string) error {
	args := strings.Fields(strings.NewReplacer(`"`, "", "'", "", "[", "", "]", "", "…", "").Replace(line))
	_, _, err := commandLine().Parse(args, io.Discard)
	if err == nil || err == flag.ErrHelp {
		return nil
	}
	if _, _, named := commandLine().Parse(append(args, "FILE"), io.Discard); named == nil {
		return nil
	}
	return err
}

func TestTheCommandsInTheDocumentsAreThoseOfTheProgram(t *testing.T) {
	var files []string
	for _, pattern := range []string{"../../README.md", "../../docs/*.md", "../../docs/enroll/*.md", "../../examples/*.yaml", "../../packaging/man/*.8"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		files = append(files, found...)
	}
	lines := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		plain := strings.ReplaceAll(strings.ReplaceAll(string(text), "\\\n", " "), `\-`, "-")
		for _, m := range typedLine.FindAllStringSubmatch(plain, -1) {
			lines++
			if err := fits(m[1]); err != nil {
				t.Errorf("%s: devid-agent %s: %v", file, m[1], err)
			}
		}
	}
	if lines < 50 {
		t.Errorf("%d command lines: the documents have more", lines)
	}
}
