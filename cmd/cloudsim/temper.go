package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

// temper is what --temper and then --set say.
func (o *options) temper() (sim.Temper, error) {
	var t sim.Temper
	if o.weather != "" {
		if err := readTemper(&t, o.weather); err != nil {
			return t, fmt.Errorf("temper %s: %w", o.weather, err)
		}
	}
	for _, pair := range o.set {
		name, value, _ := strings.Cut(pair, "=")
		if err := setTemper(&t, name, value); err != nil {
			return t, fmt.Errorf("temper: %w", err)
		}
	}
	return t, nil
}

func readTemper(t *sim.Temper, file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var members map[string]any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&members); err != nil {
		return err
	}
	for name, value := range members {
		if err := setTemper(t, name, fmt.Sprint(value)); err != nil {
			return err
		}
	}
	return nil
}

// oldCerts are the words for sim.OldCert.
var oldCerts = map[string]sim.OldCert{
	"lives":        sim.OldCertLives,
	"dies-issue":   sim.OldCertDiesAtIssue,
	"dies-connect": sim.OldCertDiesAtConnect,
}

// setTemper sets the field of that name, whatever its case. What a shell can write can be set, so not Fault.
func setTemper(t *sim.Temper, name, value string) error {
	field := reflect.ValueOf(t).Elem().FieldByNameFunc(func(s string) bool { return strings.EqualFold(s, name) })
	if !field.IsValid() || !field.CanInterface() {
		return fmt.Errorf("%s is not one of %s", name, strings.Join(temperNames(), ", "))
	}
	v, err := parseValue(field.Interface(), value)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	field.Set(reflect.ValueOf(v))
	return nil
}

func parseValue(old any, value string) (any, error) {
	switch old.(type) {
	case time.Duration:
		return time.ParseDuration(value)
	case int:
		return strconv.Atoi(value)
	case bool:
		return strconv.ParseBool(value)
	case sim.OldCert:
		if v, ok := oldCerts[value]; ok {
			return v, nil
		}
		return nil, fmt.Errorf("%q is not lives, dies-issue or dies-connect", value)
	}
	return nil, fmt.Errorf("cannot be set here")
}

func temperNames() []string {
	var names []string
	for f := range reflect.TypeFor[sim.Temper]().Fields() {
		if f.Type.Kind() != reflect.Func {
			names = append(names, f.Name)
		}
	}
	return names
}
