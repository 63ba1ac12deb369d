//go:build cgo

package module

/*
#cgo linux LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdlib.h>

// library loads the library and keeps it: unloading one that has threads of its own is a way to crash.
static const char *library(const char *path) {
	void *handle = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
	if (handle == NULL)
		return dlerror();
	dlerror();
	if (dlsym(handle, "C_GetFunctionList") == NULL)
		return "it has no C_GetFunctionList: this is not a PKCS#11 module";
	return NULL;
}
*/
import "C"

import (
	"unsafe"

	"github.com/devid-agent/devid-agent/hsm/wire"
)

// load says in the loader's words why the library at path is of no use; crypto11 and what is below it say only that
// it is.
func load(path string) error {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	if words := C.library(name); words != nil {
		return &problem{reason: wire.NoModule, words: C.GoString(words)}
	}
	return nil
}
