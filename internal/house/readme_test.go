package house

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestTheReadmeNamesEveryDocumentAndModule(t *testing.T) {
	b, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	readme := string(b)
	for _, name := range regexp.MustCompile(`docs/[a-z0-9/-]+\.md`).FindAllString(readme, -1) {
		if _, err := os.Stat("../../" + name); err != nil {
			t.Errorf("README.md names %s, which is not there", name)
		}
	}
	err = filepath.WalkDir("../../docs", func(path string, d fs.DirEntry, err error) error {
		if name := strings.TrimPrefix(filepath.ToSlash(path), "../../"); err == nil && filepath.Ext(path) == ".md" && !strings.Contains(readme, name) {
			t.Errorf("README.md does not name %s", name)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	for module := range Outside {
		if !strings.Contains(readme, module) {
			t.Errorf("README.md does not name %s", module)
		}
	}
}
