// Command ledger says what each dependency costs in a program: the sizes of its symbols, summed by module and package.
//
//	ledger -shipped dist/devid-agent-arm64 PROGRAM
//
// PROGRAM is the same build with its symbols. A sum is not what leaving the dependency out would save: what only it
// uses of the standard library stands under std, and all code has its part in the tables.
package main

import (
	"debug/buildinfo"
	"debug/elf"
	"flag"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
)

func main() {
	shipped := flag.String("shipped", "", "the `FILE` that is shipped, without symbols")
	flag.Parse()
	if err := run(flag.Arg(0), *shipped, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "ledger:", err)
		os.Exit(1)
	}
}

func run(path, shipped string, out io.Writer) error {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return err
	}
	modules := []string{info.Main.Path}
	for _, m := range info.Deps {
		modules = append(modules, m.Path)
	}
	file, err := elf.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	l, err := read(file, info.Path, modules)
	if err != nil {
		return err
	}
	stat, err := os.Stat(shipped)
	if err != nil {
		return err
	}
	return l.print(out, stat.Size())
}

// least is the share of the file below which a line says nothing.
const least = 0.001

func (l *ledger) print(out io.Writer, shipped int64) error {
	t := tabwriter.NewWriter(out, 0, 4, 2, ' ', tabwriter.AlignRight)
	line := func(bytes int64, what string) {
		fmt.Fprintf(t, "%d\t%.1f %%\t  %s\n", bytes, 100*float64(bytes)/float64(max(shipped, 1)), what)
	}
	var total int64
	for _, e := range sorted(l.modules) {
		total += e.bytes
		line(e.bytes, e.name)
		for _, p := range sorted(l.packages[e.name]) {
			if float64(p.bytes) >= least*float64(shipped) && p.name != e.name {
				line(p.bytes, "    "+p.name)
			}
		}
	}
	line(shipped-total, "headers and padding")
	line(shipped, "as shipped")
	return t.Flush()
}
