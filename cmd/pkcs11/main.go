// Devid-pkcs11 loads one PKCS#11 module and signs with it for devid-agent, which starts it and ends it.
package main

import (
	"fmt"
	"os"

	"github.com/devid-agent/devid-agent/hsm/module"
)

var release = "unknown" // set by the linker

func main() {
	if len(os.Args) == 2 && os.Args[1] == "version" {
		fmt.Println("devid-pkcs11", release)
		return
	}
	must(module.Harden())
	must(module.Run())
}

// must ends the program with err, if there is one.
func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "devid-pkcs11:", err)
		os.Exit(1)
	}
}
