package main

import (
	"errors"
	"os"
	"strings"
)

// What stands between these lines of the document is the program's.
const (
	markBegin = "<!-- bench: begin -->\n"
	markEnd   = "<!-- bench: end -->\n"
)

// renew puts the results where the document has room for them.
func renew(file string, machine []string, r results) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	fresh, err := replace(string(text), strings.Join(machine, "  \n")+"\n\n"+r.markdown())
	if err != nil {
		return err
	}
	return os.WriteFile(file, []byte(fresh), 0o644)
}

func replace(text, between string) (string, error) {
	before, rest, ok := strings.Cut(text, markBegin)
	_, after, ended := strings.Cut(rest, markEnd)
	if !ok || !ended {
		return "", errors.New("the document has no room for results: it lacks " + strings.TrimSpace(markBegin) + " … " + strings.TrimSpace(markEnd))
	}
	return before + markBegin + "\n" + between + "\n" + markEnd + after, nil
}
