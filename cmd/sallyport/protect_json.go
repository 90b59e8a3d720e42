// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// This file changes JSON files of other programs in place: only the bytes of what changes are touched, so
// that unknown members, order, spelling and white space stay as they are.

// jsonPart is a value within a document, by offsets. of is where its member begins with its name; for an
// element of an array it is start.
type jsonPart struct {
	name           string
	of, start, end int
}

// jsonParts returns the members or elements of the object or array at b[from:].
func jsonParts(b []byte, from int) (ps []jsonPart, kind jsontext.Kind, err error) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(b[from:]))
	open, err := dec.ReadToken()
	if err != nil {
		return nil, 0, err
	}
	kind = open.Kind()
	if kind != '{' && kind != '[' {
		return nil, kind, nil
	}
	for dec.PeekKind() != '}' && dec.PeekKind() != ']' {
		p := jsonPart{of: -1}
		if kind == '{' {
			name, err := dec.ReadValue()
			if err != nil {
				return nil, 0, err
			}
			p.of = from + int(dec.InputOffset()) - len(name)
			if err := json.Unmarshal(name, &p.name); err != nil {
				return nil, 0, err
			}
		}
		v, err := dec.ReadValue()
		if err != nil {
			return nil, 0, err
		}
		p.end = from + int(dec.InputOffset())
		p.start = p.end - len(v)
		if p.of < 0 {
			p.of = p.start
		}
		ps = append(ps, p)
	}
	_, err = dec.ReadToken()
	return ps, kind, err
}

var errNoObject = errors.New("not an object")

// checkJSON reports why a file cannot be changed as JSON.
func checkJSON(b []byte) error {
	dec := jsontext.NewDecoder(bytes.NewReader(b))
	kind := dec.PeekKind()
	_, err := dec.ReadValue()
	if err == nil {
		if _, more := dec.ReadToken(); !errors.Is(more, io.EOF) {
			err = errors.New("data after the value")
		} else if kind != '{' {
			err = errNoObject
		}
	}
	if err != nil {
		return fmt.Errorf("not plain JSON (comments and trailing commas are not supported): %w", err)
	}
	return nil
}

// at returns the part of b that path names; ok is false if there is none.
func at(b []byte, path ...string) (p jsonPart, ok bool, err error) {
	p = jsonPart{start: skipSpace(b, 0), end: len(b)}
	for _, name := range path {
		ps, kind, err := jsonParts(b, p.start)
		if err != nil {
			return p, false, err
		}
		if kind != '{' {
			return p, false, errNoObject
		}
		found := false
		for _, m := range ps {
			if m.name == name {
				p, found = m, true
			}
		}
		if !found {
			return p, false, nil
		}
	}
	return p, true, nil
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && strings.IndexByte(" \t\r\n", b[i]) >= 0 {
		i++
	}
	return i
}

// indentOf is the unit by which b is indented; "" for a document on one line.
func indentOf(b []byte) string {
	for _, line := range bytes.SplitAfter(b, []byte("\n"))[1:] {
		if n := len(line) - len(bytes.TrimLeft(line, " \t")); n > 0 && len(bytes.TrimSpace(line)) > 0 {
			return string(line[:n])
		}
	}
	if bytes.IndexByte(bytes.TrimSpace(b), '\n') >= 0 || len(bytes.TrimSpace(b)) <= 2 {
		return "  "
	}
	return ""
}

// render writes v as it would stand at a depth of a document that is indented by unit.
func render(v any, unit string, depth int) ([]byte, error) {
	raw, err := json.Marshal(v, json.Deterministic(true), jsontext.PreserveRawStrings(true))
	if err != nil || unit == "" {
		return raw, err
	}
	j := jsontext.Value(raw)
	err = j.Indent(jsontext.WithIndent(unit), jsontext.WithIndentPrefix(strings.Repeat(unit, depth)))
	return j, err
}

// set puts v at path: in the place of what stands there, or as the last member of its object. Objects on
// the way are made.
func set(b []byte, v any, path ...string) ([]byte, error) {
	unit := indentOf(b)
	p, ok, err := at(b, path...)
	if err != nil {
		return nil, err
	}
	if ok {
		raw, err := render(v, unit, len(path))
		return splice(b, p.start, p.end, raw), err
	}
	parent, ok, err := at(b, path[:len(path)-1]...)
	if err != nil {
		return nil, err
	}
	if !ok {
		return set(b, map[string]any{path[len(path)-1]: v}, path[:len(path)-1]...)
	}
	name, err := json.Marshal(path[len(path)-1])
	if err != nil {
		return nil, err
	}
	raw, err := render(v, unit, len(path))
	if err != nil {
		return nil, err
	}
	colon := ":"
	if unit != "" {
		colon = ": "
	}
	return insert(b, parent.start, append(append(name, colon...), raw...), unit, len(path))
}

// appendTo puts v at the end of the array at path, which is made if there is none.
func appendTo(b []byte, v any, path ...string) ([]byte, error) {
	p, ok, err := at(b, path...)
	if err != nil {
		return nil, err
	}
	if !ok {
		return set(b, []any{v}, path...)
	}
	if b[p.start] != '[' {
		return nil, fmt.Errorf("%s is not an array", strings.Join(path, "."))
	}
	unit := indentOf(b)
	raw, err := render(v, unit, len(path)+1)
	if err != nil {
		return nil, err
	}
	return insert(b, p.start, raw, unit, len(path)+1)
}

// insert puts raw as the last item into the object or array that begins at from; depth is that of its
// items.
func insert(b []byte, from int, raw []byte, unit string, depth int) ([]byte, error) {
	ps, _, err := jsonParts(b, from)
	if err != nil {
		return nil, err
	}
	if len(ps) > 0 {
		last := ps[len(ps)-1].end
		return splice(b, last, last, append(append([]byte(","), lead(unit, depth)...), raw...)), nil
	}
	end := skipSpace(b, from+1) // the closing bracket of an empty one
	return splice(b, from+1, end, append(append(lead(unit, depth), raw...), lead(unit, depth-1)...)), nil
}

func lead(unit string, depth int) []byte {
	if unit == "" {
		return nil
	}
	return []byte("\n" + strings.Repeat(unit, depth))
}

// removeItem takes the i-th item out of the object or array that begins at from, with its comma.
func removeItem(b []byte, from, i int) ([]byte, error) {
	ps, _, err := jsonParts(b, from)
	if err != nil {
		return nil, err
	}
	switch {
	case len(ps) == 1:
		end := skipSpace(b, ps[0].end)
		return splice(b, from+1, end, nil), nil
	case i == len(ps)-1:
		return splice(b, ps[i-1].end, ps[i].end, nil), nil
	}
	return splice(b, ps[i].of, ps[i+1].of, nil), nil
}

// remove takes the member at path out.
func remove(b []byte, path ...string) ([]byte, error) {
	parent, ok, err := at(b, path[:len(path)-1]...)
	if err != nil || !ok {
		return b, err
	}
	ps, _, err := jsonParts(b, parent.start)
	if err != nil {
		return nil, err
	}
	for i, p := range ps {
		if p.name == path[len(path)-1] {
			return removeItem(b, parent.start, i)
		}
	}
	return b, nil
}

func splice(b []byte, from, to int, with []byte) []byte {
	out := make([]byte, 0, len(b)-(to-from)+len(with))
	return append(append(append(out, b[:from]...), with...), b[to:]...)
}

// jsonServer reads an entry of an MCP configuration.
func jsonServer(b []byte) (server, error) {
	var v struct {
		Type    string                    `json:"type"`
		Command string                    `json:"command"`
		Args    []string                  `json:"args"`
		Env     map[string]jsontext.Value `json:"env"`
		URL     string                    `json:"url"`
		HTTPURL string                    `json:"httpUrl"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return server{}, fmt.Errorf("the entry is written in a way that is not changed here: %w", err)
	}
	s := server{command: v.Command, args: v.Args, remote: v.URL != "" || v.HTTPURL != "" || v.Type != "" && v.Type != "stdio"}
	for name := range v.Env {
		s.env = append(s.env, name)
	}
	slices.Sort(s.env)
	return s, nil
}

// setServer puts another command and other arguments into the entry at path.
func setServer(b []byte, s *server, path []string) ([]byte, error) {
	b, err := set(b, s.command, append(slices.Clone(path), "command")...)
	if err != nil {
		return nil, err
	}
	args := append(slices.Clone(path), "args")
	if _, ok, err := at(b, args...); err != nil || !ok && len(s.args) == 0 {
		return b, err
	}
	return set(b, s.args, args...)
}
