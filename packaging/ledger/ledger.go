package main

import (
	"cmp"
	"debug/elf"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Names for what belongs to no module.
const (
	std    = "std"
	tables = "tables that grow with all code" // line numbers, types, stack maps
)

// ledger is what each module, and each package of it, costs in bytes of the file.
type ledger struct {
	modules  map[string]int64
	packages map[string]map[string]int64
}

type entry struct {
	name  string
	bytes int64
}

// read sums up the symbols of file, whose main package has the path main; what no symbol names stands under its section.
func read(file *elf.File, main string, modules []string) (*ledger, error) {
	symbols, err := file.Symbols()
	if err != nil {
		return nil, fmt.Errorf("read symbols: %w", err)
	}
	l := &ledger{modules: map[string]int64{}, packages: map[string]map[string]int64{}}
	unnamed := map[*elf.Section]int64{}
	for _, s := range file.Sections {
		if s.Flags&elf.SHF_ALLOC != 0 && s.Type != elf.SHT_NOBITS {
			unnamed[s] = int64(s.Size)
		}
	}
	for _, s := range distinct(symbols) {
		if int(s.Section) >= len(file.Sections) {
			continue
		}
		section := file.Sections[s.Section]
		if _, shipped := unnamed[section]; !shipped {
			continue // memory that is zero at start takes no room in the file
		}
		unnamed[section] -= int64(s.Size)
		l.add(int64(s.Size), packageOf(s.Name, main), modules)
	}
	for s, size := range unnamed {
		l.add(size, "("+s.Name+")", modules)
	}
	return l, nil
}

// distinct leaves out symbols that lie within another, as the linker's own marks of a whole section's begin do.
func distinct(symbols []elf.Symbol) []elf.Symbol {
	slices.SortStableFunc(symbols, func(a, b elf.Symbol) int {
		return cmp.Or(cmp.Compare(a.Section, b.Section), cmp.Compare(a.Value, b.Value), cmp.Compare(a.Size, b.Size))
	})
	var kept []elf.Symbol
	var end uint64
	section := elf.SectionIndex(0)
	for _, s := range symbols {
		if s.Section != section {
			section, end = s.Section, 0
		}
		if s.Size > 0 && s.Value >= end {
			kept, end = append(kept, s), s.Value+s.Size
		}
	}
	return kept
}

func (l *ledger) add(size int64, pkg string, modules []string) {
	module := moduleOf(pkg, modules)
	l.modules[module] += size
	if l.packages[module] == nil {
		l.packages[module] = map[string]int64{}
	}
	l.packages[module][pkg] += size
}

// packageOf is the import path in a symbol's name: "github.com/a/b%2ec.(*T).M" is of github.com/a/b.c. The linker
// escapes dots in the last element, and only there (cmd/internal/objabi, PathToPrefix).
func packageOf(name, main string) string {
	for _, prefix := range []string{"go:itab.", "type:.eq.", "type:.hash."} {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			return packageOf(rest, main)
		}
	}
	if strings.HasPrefix(name, "go:") || strings.HasPrefix(name, "type:") {
		return "(" + name + ")"
	}
	name = strings.TrimLeft(name, "*")
	name, _, _ = strings.Cut(name, "[") // the arguments of a generic function have paths, too
	name, _, _ = strings.Cut(name, "(") // and so have the methods of embedded types
	slash := strings.LastIndexByte(name, '/') + 1
	last, _, dotted := strings.Cut(name[slash:], ".")
	if !dotted {
		return "(" + name + ")"
	}
	if slash == 0 && last == "main" {
		return main
	}
	return strings.ReplaceAll(name[:slash]+last, "%2e", ".")
}

// moduleOf is the module that a package belongs to: the one with the longest path.
func moduleOf(pkg string, modules []string) string {
	best := std
	if strings.HasPrefix(pkg, "(") {
		return tables
	}
	for _, m := range modules {
		if (pkg == m || strings.HasPrefix(pkg, m+"/")) && (best == std || len(m) > len(best)) {
			best = m
		}
	}
	return best
}

// sorted is the largest first.
func sorted(of map[string]int64) []entry {
	var all []entry
	for _, name := range slices.Sorted(maps.Keys(of)) {
		all = append(all, entry{name, of[name]})
	}
	slices.SortStableFunc(all, func(a, b entry) int { return cmp.Compare(b.bytes, a.bytes) })
	return all
}
