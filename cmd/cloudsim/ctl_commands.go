package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
)

// command is one of ctl.
type command func(ctx context.Context, c *controller, args []string) error

var commands = map[string]command{
	"list":        listThings,
	"create":      create,
	"disable":     verb("disable", true),
	"enable":      verb("enable", true),
	"expire":      verb("expire", true),
	"revoke":      verb("revoke", false),
	"disconnect":  verb("disconnect", false),
	"delete":      remove,
	"twin":        twin,
	"set-desired": setDesired,
	"invoke":      invoke,
	"send":        send,
	"events":      follow("/v1/events"),
	"received":    follow("/v1/received"),
	"counters":    counters,
	"temper":      temper,
	"ezca-token":  ezcaToken,
}

func newFlags(name string) *flag.FlagSet {
	return flag.NewFlagSet("devid-cloudsim ctl "+name, flag.ContinueOnError)
}

// plural are the kinds of things.
var plural = map[string]string{"device": "devices", "devices": "devices", "enrollment": "enrollments", "enrollments": "enrollments"}

// thing is the path of what the words name: a device, where they do not say of what kind it is.
func thing(words []string, both bool) (string, error) {
	kind := "device"
	if len(words) == 2 {
		kind = words[0]
	}
	if plural[kind] == "" || !both && kind != "device" {
		return "", fmt.Errorf("there is no %q of that name", kind)
	}
	return "/v1/" + plural[kind] + "/" + url.PathEscape(words[len(words)-1]), nil
}

func listThings(ctx context.Context, c *controller, args []string) error {
	w, err := words(newFlags("list"), c, args, 0, 1)
	if err != nil {
		return err
	}
	if len(w) == 0 {
		w = []string{"devices"}
	}
	if plural[w[0]] == "" {
		return fmt.Errorf("there are devices and enrollments, and no %s", w[0])
	}
	return c.do(ctx, http.MethodGet, "/v1/"+plural[w[0]], nil)
}

func verb(name string, both bool) command {
	return func(ctx context.Context, c *controller, args []string) error {
		w, err := words(newFlags(name), c, args, 1, 2)
		if err != nil {
			return err
		}
		path, err := thing(w, both)
		if err != nil {
			return err
		}
		return c.do(ctx, http.MethodPost, path+"/"+name, nil)
	}
}

func remove(ctx context.Context, c *controller, args []string) error {
	w, err := words(newFlags("delete"), c, args, 1, 2)
	if err != nil {
		return err
	}
	path, err := thing(w, true)
	if err != nil {
		return err
	}
	return c.do(ctx, http.MethodDelete, path, nil)
}

func twin(ctx context.Context, c *controller, args []string) error {
	w, err := words(newFlags("twin"), c, args, 1, 1)
	if err != nil {
		return err
	}
	path, err := thing(w, false)
	if err != nil {
		return err
	}
	return c.do(ctx, http.MethodGet, path+"/twin", nil)
}

func setDesired(ctx context.Context, c *controller, args []string) error {
	w, err := words(newFlags("set-desired"), c, args, 2, 2)
	if err != nil {
		return err
	}
	patch := []byte(w[1])
	if w[1] == "-" {
		if patch, err = io.ReadAll(c.in); err != nil {
			return err
		}
	}
	return c.do(ctx, http.MethodPatch, "/v1/devices/"+url.PathEscape(w[0])+"/desired", patch)
}

func invoke(ctx context.Context, c *controller, args []string) error {
	f := newFlags("invoke")
	timeout := f.Duration("timeout", 0, "")
	w, err := words(f, c, args, 2, 3)
	if err != nil {
		return err
	}
	path := "/v1/devices/" + url.PathEscape(w[0]) + "/methods/" + url.PathEscape(w[1]) + "?timeout=" + timeout.String()
	payload := ""
	if len(w) == 3 {
		payload = w[2]
	}
	return c.do(ctx, http.MethodPost, path, []byte(payload))
}

func send(ctx context.Context, c *controller, args []string) error {
	f := newFlags("send")
	var properties list
	f.Var(&properties, "property", "")
	id, life, input := f.String("id", "", ""), f.String("life", "", ""), f.String("input", "", "")
	w, err := words(f, c, args, 2, 2)
	if err != nil {
		return err
	}
	bag := map[string]string{}
	for _, pair := range properties {
		name, value, _ := strings.Cut(pair, "=")
		bag[name] = value
	}
	return c.doJSON(ctx, http.MethodPost, "/v1/devices/"+url.PathEscape(w[0])+"/messages",
		map[string]any{"text": w[1], "properties": bag, "id": *id, "life": *life, "input": *input})
}

func follow(path string) command {
	return func(ctx context.Context, c *controller, args []string) error {
		f := newFlags(path[len("/v1/"):])
		on, after := f.Bool("follow", false, ""), f.Int("after", 0, "")
		w, err := words(f, c, args, 0, 1)
		if err != nil {
			return err
		}
		query := url.Values{"after": {strconv.Itoa(*after)}, "follow": {strconv.FormatBool(*on)}}
		if len(w) == 1 {
			query.Set("device", w[0])
		}
		return c.do(ctx, http.MethodGet, path+"?"+query.Encode(), nil)
	}
}

func counters(ctx context.Context, c *controller, args []string) error {
	if _, err := words(newFlags("counters"), c, args, 0, 0); err != nil {
		return err
	}
	return c.do(ctx, http.MethodGet, "/v1/counters", nil)
}

// temper shows the temper, or what has changed of it.
func temper(ctx context.Context, c *controller, args []string) error {
	f := newFlags("temper")
	file, reset, all := f.String("file", "", ""), f.Bool("reset", false, ""), f.Bool("all", false, "")
	w, err := words(f, c, args, 0, 1000)
	if err != nil {
		return err
	}
	if *file != "" || *reset {
		b := []byte("{}")
		if *file != "" {
			if b, err = os.ReadFile(*file); err != nil {
				return err
			}
		}
		if err := c.quietly(ctx, http.MethodPut, "/v1/temper", b); err != nil {
			return err
		}
	}
	for _, pair := range w {
		if err := c.setTemper(ctx, pair); err != nil {
			return err
		}
	}
	return c.do(ctx, http.MethodGet, "/v1/temper?all="+strconv.FormatBool(*all), nil)
}

// setTemper changes one NAME=VALUE, where the name may have dots.
func (c *controller) setTemper(ctx context.Context, pair string) error {
	name, value, ok := strings.Cut(pair, "=")
	if !ok {
		return fmt.Errorf("%s is not NAME=VALUE", pair)
	}
	parts := strings.Split(name, ".")
	var patch any = value
	for i := len(parts) - 1; i >= 0; i-- {
		patch = map[string]any{parts[i]: patch}
	}
	b, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	return c.quietly(ctx, http.MethodPatch, "/v1/temper", b)
}

// quietly is do without the answer.
func (c *controller) quietly(ctx context.Context, method, path string, body []byte) error {
	quiet := *c
	quiet.out = io.Discard
	return quiet.do(ctx, method, path, body)
}

func (c *controller) doJSON(ctx context.Context, method, path string, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return c.do(ctx, method, path, b)
}

// ezcaToken prints the token alone, as the file for a device has it.
func ezcaToken(ctx context.Context, c *controller, args []string) error {
	if _, err := words(newFlags("ezca-token"), c, args, 0, 0); err != nil {
		return err
	}
	var answer bytes.Buffer
	asking := *c
	asking.out = &answer
	if err := asking.do(ctx, http.MethodPost, "/v1/ezca/tokens", nil); err != nil {
		return err
	}
	var token struct{ Token string }
	if err := json.Unmarshal(answer.Bytes(), &token); err != nil {
		return err
	}
	_, err := fmt.Fprintln(c.out, token.Token)
	return err
}
