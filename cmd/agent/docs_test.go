package main

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"os"
	"reflect"
	"strings"
	"testing"
)

var updateDocs = flag.Bool("update-docs", false, "write the tables in docs/configuration.md and docs/commands.md")

// commentsOf are the comments of all fields of the structs in the files of the configuration: by the name of the type, and
// for structs within structs by the names on the way, as Config.Keys.PCR.
func commentsOf(t *testing.T) map[string]string {
	t.Helper()
	packages, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	var fields func(of ast.Expr, path string)
	fields = func(of ast.Expr, path string) {
		s, ok := of.(*ast.StructType)
		if !ok {
			return
		}
		for _, f := range s.Fields.List {
			for _, name := range f.Names {
				all[path+"."+name.Name] = strings.Join(strings.Fields(f.Doc.Text()), " ")
				fields(f.Type, path+"."+name.Name)
			}
		}
	}
	for _, file := range packages {
		if !strings.HasPrefix(file.Name(), "config") || strings.HasSuffix(file.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(gotoken.NewFileSet(), file.Name(), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok {
				fields(spec.Type, spec.Name.Name)
			}
			return true
		})
	}
	return all
}

// keyTable is a section of the page for each section of the file, with a line for each of its keys.
func keyTable(t *testing.T) string {
	comments := commentsOf(t)
	var page strings.Builder
	var section func(of reflect.Type, in, path string)
	section = func(of reflect.Type, in, path string) {
		if of.Name() != "" {
			in = of.Name()
		}
		var below []func()
		var lines strings.Builder
		for _, k := range keysOf(of) {
			f := of.FieldByIndex(k.index)
			home, field := in, join(path, k.name)
			if len(k.index) > 1 {
				home = of.Field(k.index[0]).Type.Name()
			}
			home += "." + f.Name
			is := f.Type
			if is.Kind() == reflect.Map || is.Kind() == reflect.Slice && is.Elem().Kind() == reflect.Struct {
				is, field = is.Elem(), field+map[bool]string{true: ".NAME", false: "[]"}[is.Kind() == reflect.Map]
			}
			if is.Kind() == reflect.Struct {
				below = append(below, func() { section(is, home, field) })
				continue
			}
			about := comments[home]
			if about == "" { // two that are told together
				about = comments[in+"."+of.Field(k.index[0]-1).Name]
			}
			fmt.Fprintf(&lines, "| `%s` | %s | %s |\n", k.name, worth(f.Type, k), inKeys(about, of, f.Name))
		}
		if lines.Len() > 0 {
			fmt.Fprintf(&page, "### `%s`\n\n| key | value | meaning |\n|---|---|---|\n%s\n", path, lines.String())
		}
		for _, b := range below {
			b()
		}
	}
	section(reflect.TypeFor[Config](), "", "")
	return page.String()
}

// inKeys says in the words of the file what a comment says in those of Go: of is the struct of the field that it is about.
func inKeys(comment string, of reflect.Type, own string) string {
	names := map[string]string{}
	for _, k := range keysOf(of) {
		names[of.FieldByIndex(k.index).Name] = "`" + k.name + "`"
	}
	words := strings.Split(strings.ReplaceAll(strings.ReplaceAll(comment, "the room's, ", ""), "|", `\|`), " ")
	for i, word := range words {
		bare := strings.TrimRight(word, ".,:;'s")
		if _, known := names[word]; known {
			bare = word
		}
		if name, known := names[bare]; known && (i == 0 || bare != own && words[i-1] != "the") {
			words[i] = name + strings.TrimPrefix(word, bare)
		}
	}
	return strings.ReplaceAll(strings.Join(words, " "), "Hub.Host", "`hub.host`")
}

// worth is what may stand behind a key.
func worth(is reflect.Type, k key) string {
	list := ""
	if is.Kind() == reflect.Slice {
		is, list = is.Elem(), "list of "
	}
	text := expected(is, k)
	if is.Kind() == reflect.String && len(k.oneof) == 0 && !k.path {
		text = "`" + k.like + "`"
	} else if before, like, found := strings.Cut(text, ", as "); found {
		text = before + ", as `" + like + "`"
	}
	if k.min != "" {
		text += "; " + k.min + " to " + k.max
	}
	if k.required {
		text += "; **required**"
	}
	return list + text
}

func TestTheReferenceOfTheConfigurationIsThatOfTheProgram(t *testing.T) {
	inStep(t, "../../docs/configuration.md", keyTable(t))
}

func TestTheReferenceOfTheCommandsIsThatOfTheProgram(t *testing.T) {
	var page strings.Builder
	for _, c := range commandLine().Commands {
		words := strings.Fields(c.Name)
		text := helpOf(t, append(words, "--help")...)
		_, flags, _ := strings.Cut(text, "\n\n")
		fmt.Fprintf(&page, "### `%s`\n\n%s.\n\n", strings.TrimSpace(c.Name+" "+c.Takes), strings.ToUpper(c.About[:1])+c.About[1:])
		if own := ownFlags(flags); own != "" {
			fmt.Fprintf(&page, "```\n%s```\n\n", own)
		}
	}
	inStep(t, "../../docs/commands.md", page.String())
}

// ownFlags are those that not every command has.
func ownFlags(flags string) (own string) {
	skip := false
	for line := range strings.Lines(flags) {
		if strings.HasPrefix(line, "  -") {
			name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
			skip = name == "-config" || strings.HasPrefix(name, "-json")
		}
		if !skip {
			own += strings.Replace(line, "  -", "  --", 1)
		}
	}
	return own
}

// inStep holds what stands on the page behind the mark against what the program says.
func inStep(t *testing.T, page, want string) {
	t.Helper()
	const mark = "<!-- below: go test ./cmd/agent -run TestTheReference -update-docs -->\n\n"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	above, got, marked := strings.Cut(string(text), mark)
	if !marked {
		t.Fatalf("%s has no mark", page)
	}
	want = strings.TrimRight(want, "\n") + "\n"
	if *updateDocs {
		if err := os.WriteFile(page, []byte(above+mark+want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if got != want {
		t.Errorf("%s is not what the program says: go test ./cmd/agent -run TestTheReference -update-docs", page)
	}
}
