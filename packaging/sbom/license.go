package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// marks are words that only one license has, with its SPDX name. The first that is found counts.
var marks = []struct{ id, words string }{
	{"Apache-2.0", "Apache License Version 2.0"},
	{"MPL-2.0", "Mozilla Public License Version 2.0"},
	{"BSD-3-Clause", "Neither the name of"},
	{"BSD-2-Clause", "Redistributions in binary form must reproduce the above copyright notice"},
	{"MIT", "Permission is hereby granted, free of charge, to any person obtaining a copy"},
	{"ISC", "Permission to use, copy, modify, and/or distribute this software for any purpose"},
	{"ISC", "Permission to use, copy, modify, and distribute this software for any purpose"},
	{"Zlib", "This software is provided 'as-is', without any express or implied warranty"},
}

// told are the licenses of modules whose file names several.
var told = map[string]string{
	"github.com/eclipse/paho.mqtt.golang": "EPL-2.0 OR BSD-3-Clause", // its LICENSE: "dual licensed"; the EDL 1.0 is BSD-3-Clause
	"go.yaml.in/yaml/v3":                  "MIT AND Apache-2.0",      // its LICENSE: the files of libyaml are MIT
}

// licenses names the license of the module whose sources lie in dir. That it is not known is an error: somebody must
// look before it is shipped.
func licenses(path, dir string) ([]licenseChoice, error) {
	if expression, ok := told[path]; ok {
		return []licenseChoice{{Expression: expression}}, nil
	}
	files, err := legal(path, dir)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		return nil, err
	}
	if id := recognise(string(text)); id != "" {
		return []licenseChoice{{License: &license{id}}}, nil
	}
	return nil, fmt.Errorf("%s: the license in %s is not known here: read it, and add it to license.go", path, files[0])
}

// legal lists the files of a module that speak of rights, its license first.
func legal(path, dir string) ([]string, error) {
	var files []string
	for _, pattern := range []string{"LICEN[CS]E*", "COPYING*", "NOTICE*", "e[dp]l-v*", "PATENTS"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return nil, err
		}
		files = append(files, found...)
	}
	if dir == "" || len(files) == 0 {
		return nil, fmt.Errorf("%s: no license file in %q", path, dir)
	}
	return files, nil
}

// notices is what the licenses of the linked modules, and of Go's own library, want to be passed on.
func notices(p *program) ([]byte, error) {
	var b bytes.Buffer
	paths := []string{"std"}
	for _, m := range p.info.Deps {
		if !p.own(m) {
			paths = append(paths, m.Path)
		}
	}
	for _, path := range paths {
		files, err := legal(path, p.dirs[path])
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(&b, "==== %s: %s\n\n%s\n\n", path, filepath.Base(file), bytes.TrimSpace(text))
		}
	}
	return b.Bytes(), nil
}

// recognise returns the SPDX name of the license that text is, "" where it is none of marks.
func recognise(text string) string {
	plain := strings.Join(strings.Fields(text), " ")
	for _, m := range marks {
		if strings.Contains(plain, m.words) {
			return m.id
		}
	}
	return ""
}
