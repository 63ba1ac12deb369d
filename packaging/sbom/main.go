// Command sbom writes beside each program it is given what the program is made of: PROGRAM.cdx.json, a CycloneDX 1.6
// document, and PROGRAM.notices, the licenses that want to be passed on with it. All it says is read from the program
// itself and from the modules it was built of; nothing is fetched.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strconv"
	"time"
)

func main() {
	version := flag.String("version", "unknown", "`VERSION` of the programs")
	flag.Parse()
	made, err := sourceDate(os.Getenv("SOURCE_DATE_EPOCH"))
	for _, path := range flag.Args() {
		if err == nil {
			err = write(path, *version, made)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

// sourceDate is the time that the document claims: that of the sources, so that it is the same from the same sources.
func sourceDate(epoch string) (time.Time, error) {
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

func write(path, version string, made time.Time) error {
	p, err := inspect(path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	b, err := document(p, version, made)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	text, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := os.WriteFile(path+".cdx.json", append(text, '\n'), 0o644); err != nil {
		return err
	}
	words, err := notices(p)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path+".notices", words, 0o644)
}
