package tpm

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

const defaultDevice = "/dev/tpmrm0"

// isRawDevice reports that path is /dev/tpm and a number.
func isRawDevice(path string) bool {
	number, ok := strings.CutPrefix(path, "/dev/tpm")
	return ok && number != "" && strings.Trim(number, "0123456789") == ""
}

// CheckTCTI says why s does not name a TPM, or nil.
func CheckTCTI(s string) error {
	_, err := parseTCTI(s, 0)
	return err
}

// parseTCTI reads the notation of the TPM2 Software Stack, as far as it names a TPM to us.
func parseTCTI(s string, timeout time.Duration) (link, error) {
	kind, rest, _ := strings.Cut(s, ":")
	switch kind {
	case "", "device":
		return parseDevice(s, rest, timeout)
	case "swtpm":
		return parseSocket(s, rest, timeout)
	}
	return nil, badTCTI(s, fmt.Sprintf("unknown kind %q", kind))
}

// parseDevice refuses the device without a resource manager: it belongs to one program at a time, and what that
// program leaves in its three slots locks all others out.
func parseDevice(s, path string, timeout time.Duration) (link, error) {
	if path == "" {
		path = defaultDevice
	}
	if isRawDevice(path) {
		managed := strings.Replace(path, "/tpm", "/tpmrm", 1)
		return nil, fault.AskOperator(fmt.Errorf("tcti %q: %s is the TPM without its resource manager", s, path),
			"use device:"+managed+", which several programs can share")
	}
	if path[0] != '/' {
		return nil, badTCTI(s, fmt.Sprintf("%q is not an absolute path", path))
	}
	return &device{path: path, timeout: timeout}, nil
}

func parseSocket(s, rest string, timeout time.Duration) (link, error) {
	values := map[string]string{}
	for pair := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(pair, "=")
		if value == "" || name != "path" && name != "host" && name != "port" {
			return nil, badTCTI(s, fmt.Sprintf("%q is none of path=, host=, port= with a value", pair))
		}
		values[name] = value
	}
	path, byPath := values["path"]
	if byPath && len(values) == 1 {
		return &socket{network: "unix", address: path, timeout: timeout}, nil
	}
	if byPath {
		return nil, badTCTI(s, "path= excludes host= and port=")
	}
	return parseAddress(s, values, timeout)
}

func parseAddress(s string, values map[string]string, timeout time.Duration) (link, error) {
	host, port := values["host"], values["port"]
	if host == "" {
		host = "localhost"
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return nil, badTCTI(s, fmt.Sprintf("port %q is not a number from 1 to 65535", port))
	}
	return &socket{network: "tcp", address: net.JoinHostPort(host, port), timeout: timeout}, nil
}

func badTCTI(s, why string) error {
	return fault.AskOperator(fmt.Errorf("tcti %q: %s", s, why),
		"name the TPM as device:/dev/tpmrm0, swtpm:path=SOCKET or swtpm:host=HOST,port=PORT")
}
