// Command yocto writes what the recipes in meta-devid-agent say about Go modules, so that no person types checksums:
//
//	go run ./packaging/yocto
//
// Its tests hold the layer against go.sum, the Makefile and the Debian package.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if err := generate("."); err != nil {
		fmt.Fprintln(os.Stderr, "yocto:", err)
		os.Exit(1)
	}
}

// recipes are the programs that have one, with what the Makefile and packaging/build.sh give them.
var recipes = []recipe{
	{program: "agent", name: "devid-agent", tags: "nethttpomithttp2", cgo: "0"},
	{program: "pkcs11", name: "devid-pkcs11", cgo: "1"},
}

// recipe is a program as it is built for a device.
type recipe struct{ program, name, tags, cgo string }

// layer is where the recipes lie, below the root of the sources.
const layer = "packaging/yocto/meta-devid-agent/recipes-devid/devid-agent"

// generate writes the includes of all recipes of the sources at root.
func generate(root string) error {
	for _, r := range recipes {
		files, err := r.includes(root)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(root, layer, name), []byte(text), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}
