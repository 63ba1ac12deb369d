package sim

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// version is an api-version. The zero value is older than any.
type version string

var versionForm = regexp.MustCompile(`^20[0-9]{2}-[0-9]{2}-[0-9]{2}(-preview)?$`)

func parseVersion(s string) (version, error) {
	if !versionForm.MatchString(s) {
		return "", fmt.Errorf("api-version %q", s)
	}
	return version(s), nil
}

// since reports whether v is of day (YYYY-MM-DD) or later.
func (v version) since(day string) bool { return len(v) >= len(day) && string(v[:len(day)]) >= day }

// parseDPSUsername takes {scope}/registrations/{regId}/api-version={v}[&ClientVersion=…] apart. There is no '?' in
// it, other than at the hub ("Communicate with DPS using MQTT").
func parseDPSUsername(s string) (scope, registration string, v version, err error) {
	parts := strings.SplitN(s, "/", 4)
	if len(parts) != 4 || parts[1] != "registrations" || !strings.HasPrefix(parts[3], "api-version=") {
		return "", "", "", fmt.Errorf("user name %q is not {scope}/registrations/{id}/api-version={v}", s)
	}
	query, err := url.ParseQuery(parts[3])
	if err != nil {
		return "", "", "", fmt.Errorf("user name %q: %w", s, err)
	}
	v, err = parseVersion(query.Get("api-version"))
	return parts[0], parts[2], v, err
}

// parseHubUsername takes {hub}/{device}/?api-version={v}[&…] apart.
func parseHubUsername(s string) (hub, device string, v version, err error) {
	path, query, ok := strings.Cut(s, "/?")
	hub, device, named := strings.Cut(path, "/")
	if !ok || !named || hub == "" || device == "" {
		return "", "", "", fmt.Errorf("user name %q is not {hub}/{device}/?api-version={v}", s)
	}
	for pair := range strings.SplitSeq(query, "&") { // not ParseQuery: a model ID comes unescaped, with its ';'
		if value, is := strings.CutPrefix(pair, "api-version="); is {
			v, err = parseVersion(value)
			return hub, device, v, err
		}
	}
	return "", "", "", fmt.Errorf("user name %q has no api-version", s)
}

// parseBag decodes the properties in a topic: k=v&k=v, percent-encoded.
func parseBag(s string) (map[string]string, error) {
	bag := map[string]string{}
	if s == "" {
		return bag, nil
	}
	for pair := range strings.SplitSeq(s, "&") {
		k, v, _ := strings.Cut(pair, "=")
		key, err := url.PathUnescape(k)
		if err != nil || key == "" {
			return nil, fmt.Errorf("property %q: no name", pair)
		}
		if bag[key], err = url.PathUnescape(v); err != nil {
			return nil, fmt.Errorf("property %q: %w", pair, err)
		}
	}
	return bag, nil
}

// parameter returns what stands behind name= in the part of a topic behind "/?". It is not decoded: a request ID
// is echoed byte for byte.
func parameter(query, name string) string {
	for pair := range strings.SplitSeq(query, "&") {
		if value, ok := strings.CutPrefix(pair, name+"="); ok {
			return value
		}
	}
	return ""
}

// matches reports whether a topic falls under a filter, MQTT 3.1.1 section 4.7.
func matches(filter, topic string) bool {
	levels := strings.Split(topic, "/")
	for i, f := range strings.Split(filter, "/") {
		switch {
		case f == "#":
			return true
		case i >= len(levels) || f != "+" && f != levels[i]:
			return false
		}
	}
	return strings.Count(filter, "/") == len(levels)-1
}

var errTopic = errors.New("there is no such topic")

func badTopic(topic string) error { return fmt.Errorf("%w: %s", errTopic, topic) }
