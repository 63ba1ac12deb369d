package main

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/devid-agent/devid-agent/sim"
)

// prepareEST lets DPS place the devices that the EST server certifies, and says where that is.
func (o *options) prepareEST(cloud *sim.Cloud, out io.Writer) error {
	var b bytes.Buffer
	for _, root := range cloud.ESTRoots() {
		cloud.Enroll(sim.Enrollment{CA: root})
		pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: root.Raw})
	}
	cloud.ESTUser(estUser, estPassword)
	file := filepath.Join(o.dir, "est-roots.pem")
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(out, "devid-cloudsim: EST at https://%s, user %s, password %s; its certificates come from %s\n", cloud.ESTAddr(), estUser, estPassword, file)
	return nil
}

// Who may enroll any device: this is a simulator.
const (
	estUser     = "line-1"
	estPassword = "simulated"
)
