// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
)

// rewriteOrder is the order in which rewriting obligations are carried out.
var rewriteOrder = []action.ObligationType{action.ObligeRewrite, action.ObligeRedact, action.ObligeMask, action.ObligeCap}

// rewrite carries the rewriting obligations out on the JSON value data. It returns data itself if they
// change nothing, else canonical bytes. An obligation that cannot be carried out is an error.
func (e *Enforcer) rewrite(data []byte, obligations []action.Obligation, found []action.Secret) (out []byte, err error) {
	defer func() {
		if recover() != nil {
			out, err = nil, errors.New("rewriting panicked")
		}
	}()
	changed := data
	for _, t := range rewriteOrder {
		for _, o := range obligations {
			if o.Type != t {
				continue
			}
			switch kind, ok := o.Params["kind"]; {
			case t == action.ObligeRedact && kind == "secret":
				changed, err = e.cfg.Redact(changed, found)
			case t == action.ObligeMask && ok:
				changed, err = e.mask(changed, kind, o.Params)
			default:
				changed, err = edit(changed, o)
			}
			if err != nil {
				return nil, fmt.Errorf("rule %q: %s: %w", o.Rule, o.Type, err)
			}
		}
	}
	if bytes.Equal(changed, data) {
		return data, nil
	}
	var was, is any
	if err := json.Unmarshal(data, &was); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(changed, &is); err != nil {
		return nil, err
	}
	a, err1 := action.Canonical(was)
	b, err2 := action.Canonical(is)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	if bytes.Equal(a, b) {
		return data, nil
	}
	return b, nil
}

// mask hides the personal data of some kinds wherever it stands.
func (e *Enforcer) mask(data []byte, kinds string, params map[string]string) ([]byte, error) {
	keep := 0
	if k, ok := params["keep"]; ok {
		var err error
		if keep, err = strconv.Atoi(k); err != nil || keep < 0 {
			return nil, fmt.Errorf("keep %q is not a number", k)
		}
	}
	if _, both := params["pointer"]; both {
		return nil, errors.New("a pointer and a kind: one of them")
	}
	if e.cfg.Mask == nil {
		return nil, errors.New("nobody here masks by kind")
	}
	return e.cfg.Mask(data, kinds, keep)
}

// redactedText stands where a value was.
const redactedText = "[redacted]"

// edit applies one obligation with a pointer.
func edit(data []byte, o action.Obligation) ([]byte, error) {
	pointer, ok := o.Params["pointer"]
	if !ok {
		return nil, errors.New("no pointer")
	}
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		return nil, err
	}
	found := false
	v, err := at(v, tokens(pointer), func(old any) (any, error) {
		found = true
		return replaced(old, o)
	})
	if err != nil {
		return nil, err
	}
	if !found {
		if o.Type == action.ObligeRewrite {
			return nil, fmt.Errorf("nothing stands at %q", pointer)
		}
		return data, nil
	}
	return json.Marshal(v, json.Deterministic(true))
}

func replaced(old any, o action.Obligation) (any, error) {
	switch o.Type {
	case action.ObligeRewrite:
		var v any
		err := json.Unmarshal([]byte(o.Params["value"]), &v)
		return v, err
	case action.ObligeRedact:
		return redactedText, nil
	case action.ObligeMask:
		s, ok := old.(string)
		if !ok {
			return redactedText, nil
		}
		keep, err := strconv.Atoi(o.Params["keep"])
		if err != nil || keep < 0 {
			return nil, fmt.Errorf("keep %q is not a number", o.Params["keep"])
		}
		n := utf8.RuneCountInString(s)
		runes := []rune(s)
		return strings.Repeat("*", max(0, n-keep)) + string(runes[max(0, n-keep):]), nil
	case action.ObligeCap:
		limit, err := strconv.ParseFloat(o.Params["max"], 64)
		if err != nil {
			return nil, fmt.Errorf("max %q is not a number", o.Params["max"])
		}
		n, ok := old.(float64)
		if !ok {
			return nil, errors.New("the value is no number")
		}
		return min(n, limit), nil
	}
	return nil, errors.New("not a rewriting obligation")
}

// tokens splits an RFC 6901 pointer.
func tokens(pointer string) []string {
	if pointer == "" {
		return nil
	}
	parts := strings.Split(strings.TrimPrefix(pointer, "/"), "/")
	for i, p := range parts {
		parts[i] = strings.ReplaceAll(strings.ReplaceAll(p, "~1", "/"), "~0", "~")
	}
	return parts
}

// at applies change to the value that path leads to, if there is one.
func at(v any, path []string, change func(any) (any, error)) (any, error) {
	if len(path) == 0 {
		return change(v)
	}
	switch c := v.(type) {
	case map[string]any:
		old, ok := c[path[0]]
		if !ok {
			return v, nil
		}
		n, err := at(old, path[1:], change)
		c[path[0]] = n
		return c, err
	case []any:
		i, err := strconv.Atoi(path[0])
		if err != nil || i < 0 || i >= len(c) {
			return v, nil
		}
		c = slices.Clone(c)
		c[i], err = at(c[i], path[1:], change)
		return c, err
	}
	return v, nil
}
