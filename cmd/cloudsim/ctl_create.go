package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

// create registers a device at the hub, or an enrollment at DPS.
func create(ctx context.Context, c *controller, args []string) error {
	if len(args) == 0 || plural[args[0]] == "" {
		fmt.Fprintf(c.err, "devid-cloudsim ctl: create what?\n%s", ctlUsage)
		return errUsage
	}
	if plural[args[0]] == "devices" {
		return createDevice(ctx, c, args[1:])
	}
	return createEnrollment(ctx, c, args[1:])
}

func createDevice(ctx context.Context, c *controller, args []string) error {
	f := newFlags("create device")
	sas := f.Bool("sas", false, "")
	key, ca := f.String("key", "", ""), f.String("ca", "", "")
	var thumbprints list
	f.Var(&thumbprints, "thumbprint", "")
	w, err := words(f, c, args, 1, 1)
	if err != nil {
		return err
	}
	body := map[string]any{"sas": *sas, "thumbprints": thumbprints}
	if err := addText(body, "ca", *ca); err != nil {
		return err
	}
	if *key != "" {
		b, err := readBinary(*key)
		if err != nil {
			return err
		}
		body["keys"] = [][]byte{b}
	}
	path, err := thing(w, false)
	if err != nil {
		return err
	}
	return c.doJSON(ctx, http.MethodPut, path, body)
}

func createEnrollment(ctx context.Context, c *controller, args []string) error {
	f := newFlags("create enrollment")
	group, noPolicy, makeKey := f.Bool("group", false, ""), f.Bool("no-policy", false, ""), f.Bool("make-key", false, "")
	device, payload := f.String("device", "", ""), f.String("payload", "", "")
	files := map[string]*string{"certificate": f.String("certificate", "", ""), "ca": f.String("ca", "", "")}
	binaries := map[string]*string{"symmetricKey": f.String("key", "", ""), "endorsementKey": f.String("endorsement", "", "")}
	w, err := words(f, c, args, 1, 1)
	if err != nil {
		return err
	}
	body := map[string]any{"group": *group, "noPolicy": *noPolicy, "makeKey": *makeKey, "device": *device}
	if *payload != "" {
		body["payload"] = json.RawMessage(*payload)
	}
	for name, file := range files {
		if err := addText(body, name, *file); err != nil {
			return err
		}
	}
	for name, file := range binaries {
		if err := addBytes(body, name, *file); err != nil {
			return err
		}
	}
	path, err := thing([]string{"enrollment", w[0]}, true)
	if err != nil {
		return err
	}
	return c.doJSON(ctx, http.MethodPut, path, body)
}

func addText(body map[string]any, name, file string) error {
	if file == "" {
		return nil
	}
	b, err := os.ReadFile(file)
	body[name] = string(b)
	return err
}

func addBytes(body map[string]any, name, file string) error {
	if file == "" {
		return nil
	}
	b, err := readBinary(file)
	body[name] = b
	return err
}

// readSecret reads the secret of a control port.
func readSecret(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("the secret of the control API: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// pretty prints JSON for people; where there is none, nothing.
func (c *controller) pretty(body io.Reader) error {
	b, err := io.ReadAll(body)
	if err != nil || len(b) == 0 {
		return err
	}
	var out bytes.Buffer
	if json.Indent(&out, bytes.TrimSpace(b), "", "  ") != nil {
		out.Reset()
		out.Write(b)
	}
	_, err = fmt.Fprintln(c.out, out.String())
	return err
}

// refusal is what the cloud said instead of an answer.
func refusal(response *http.Response) error {
	var no struct {
		Error     string
		ErrorCode int
	}
	b, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return err
	}
	if json.Unmarshal(b, &no) != nil || no.Error == "" {
		return fmt.Errorf("%s: %s", response.Status, bytes.TrimSpace(b))
	}
	if no.ErrorCode != 0 {
		return fmt.Errorf("%d %s", no.ErrorCode, no.Error)
	}
	return errors.New(no.Error)
}
