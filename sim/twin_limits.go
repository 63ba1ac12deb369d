package sim

import (
	"encoding/json"
	"fmt"
	"strings"
)

// The limits of "Understand and use device twins in IoT Hub".
const (
	maxSection = 32 << 10 // desired, and reported
	maxString  = 4 << 10
	maxKey     = 1 << 10
	maxDepth   = 10
	minInteger = -4503599627370496
	maxInteger = 4503599627370495
)

// checkSection says what in an object at this depth is not fit for a twin, or nil.
func checkSection(object map[string]any, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("more than %d levels deep", maxDepth)
	}
	for k, v := range object {
		if err := checkKey(k); err != nil {
			return err
		}
		if err := checkValue(v, depth); err != nil {
			return fmt.Errorf("%s: %w", k, err)
		}
	}
	return nil
}

func checkKey(k string) error {
	forbidden := strings.IndexFunc(k, func(r rune) bool {
		return r < ' ' || r >= 0x7f && r <= 0x9f || r == '.' || r == '$' || r == ' '
	})
	switch {
	case k == "":
		return fmt.Errorf("an empty name")
	case len(k) > maxKey:
		return fmt.Errorf("a name of %d bytes", len(k))
	case forbidden >= 0:
		return fmt.Errorf("the name %q has a control character, a dot, a dollar sign or a space", k)
	}
	return nil
}

func checkValue(v any, depth int) error {
	switch v := v.(type) {
	case map[string]any:
		return checkSection(v, depth+1)
	case []any:
		for _, one := range v {
			if err := checkValue(one, depth+1); err != nil {
				return err
			}
		}
	case string:
		if len(v) > maxString {
			return fmt.Errorf("a string of %d bytes", len(v))
		}
	case json.Number:
		return checkNumber(v)
	}
	return nil
}

// checkNumber holds integers against their range; others are floating point.
func checkNumber(n json.Number) error {
	if strings.ContainsAny(n.String(), ".eE") {
		_, err := n.Float64()
		return err
	}
	if i, err := n.Int64(); err != nil || i < minInteger || i > maxInteger {
		return fmt.Errorf("the integer %s is out of range", n)
	}
	return nil
}

// depthOf is how many levels an object has.
func depthOf(v any) int {
	deepest := 0
	switch v := v.(type) {
	case map[string]any:
		for _, one := range v {
			deepest = max(deepest, depthOf(one))
		}
	case []any:
		for _, one := range v {
			deepest = max(deepest, depthOf(one))
		}
	default:
		return 0
	}
	return deepest + 1
}
