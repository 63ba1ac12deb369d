//go:build !cgo

package module

import "errors"

// Run says that this build can load no library.
func Run() error {
	return errors.New("built without cgo, and so it can load no PKCS#11 module: build with CGO_ENABLED=1 and a C compiler")
}
