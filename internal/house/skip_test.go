package house

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// essential are packages that no Debian is without (Debian Policy, 3.8).
var essential = []string{"bash", "dash", "dpkg"}

// installed are the packages that the Makefile installs for `make test`.
func installed(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	all := slices.Clone(essential)
	for _, target := range regexp.MustCompile(`(?m)^need-(?:test|cgo):(?:.*\\\n)*.*\n(?:\t.*\\\n)*\t.*`).FindAllString(string(text), -1) {
		for _, pair := range regexp.MustCompile(`\S:([a-z0-9][a-z0-9.+-]+)`).FindAllStringSubmatch(target, -1) {
			all = append(all, pair[1])
		}
	}
	return all
}

var (
	skip = regexp.MustCompile(`\.Skip(?:f|Now)?\((.*)`)
	// What a skip may say: packages, or the words of whoever called the helper.
	speaking = regexp.MustCompile(`^"(?:%v: )?(?:apt-get )?install |^remedy\)`)
	// Where packages are named: in the words of a skip, or for a helper that skips.
	named = regexp.MustCompile(`(?:\.Skipf?|missing)\(.*?"(?:%v: )?(?:apt-get )?install ([a-z0-9.+ -]*)|\b(?:Require|need)\([a-z.]+, "[^"]+", "([^"]+)"\)`)
)

func TestEverySkipNamesPackagesThatMakeTestInstalls(t *testing.T) {
	packages, skips := installed(t), 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || filepath.Base(path) == "skip_test.go" {
			return err
		}
		text, err := os.ReadFile(path)
		for line := range strings.Lines(string(text)) {
			if found := skip.FindStringSubmatch(line); found != nil {
				skips++
				// A helper's skip says what its callers name: they are found only where it is called need or Require.
				indirect := strings.Contains(found[1], `" + `) && !strings.Contains(string(text), "func need(") && !strings.Contains(string(text), "func Require(")
				if indirect || !speaking.MatchString(found[1]) {
					t.Errorf("%s: a skip that does not say what to install: %s", path, line)
				}
			}
			for _, found := range named.FindAllStringSubmatch(line, -1) {
				for _, name := range strings.Fields(found[1] + found[2]) {
					if name != "and" && !slices.Contains(packages, name) {
						t.Errorf("%s: make test does not install %s: add it to need-test in the Makefile", path, name)
					}
				}
			}
		}
		return err
	})
	if err != nil || skips < 10 || len(packages) < 15 {
		t.Errorf("%v: %d skips, %d packages: this test looks at the wrong place", err, skips, len(packages))
	}
}
