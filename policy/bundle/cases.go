// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"errors"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"go.yaml.in/yaml/v3"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/internal/strictyaml"
)

// Suite is one file of cases: tests/<name>.yaml.
//
//	pack: files              only the policies in this folder decide; absent: all of the bundle
//	params: {...}            in place of the bundle's params.yaml, for this file
//	given: {...}             a part of a query that all cases share
//	cases:
//	  - name: a sentence
//	    expect: allow        or ask, deny, quarantine
//	    rules: [read]        names without pack of exactly the deciding rules; absent: not compared
//	    channel: client      of an ask: the strongest that its rules need; absent: not compared
//	    obligations: [redact]  types, sorted; absent: not compared
//	    query: {...}         the rest of the query
//
// Facts that neither given nor query states are unknown. A list replaces a list.
type Suite struct {
	File   string
	Pack   string // folder; "" means all policies
	Params []byte // YAML; nil keeps the bundle's own
	Cases  []Case
}

// Case is one query with the answer that it must get.
type Case struct {
	Name        string
	Line        int
	Expect      action.Verdict
	Rules       []string // nil: not compared
	Channel     action.Rank
	Obligations []string // nil: not compared
	Query       *action.Query
}

type suiteFile struct {
	Pack   string     `yaml:"pack"`
	Params yaml.Node  `yaml:"params"`
	Given  yaml.Node  `yaml:"given"`
	Cases  []caseFile `yaml:"cases"`
}

type caseFile struct {
	Name        string         `yaml:"name"`
	Expect      action.Verdict `yaml:"expect"`
	Rules       []string       `yaml:"rules"`
	Channel     action.Rank    `yaml:"channel"`
	Obligations []string       `yaml:"obligations"`
	Query       yaml.Node      `yaml:"query"`
}

// Suites reads all files of cases.
func (b *Bundle) Suites() ([]Suite, error) {
	var out []Suite
	for _, f := range b.Files("tests", ".yaml") {
		s, err := readSuite(f.Name, f.Data)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// WithParams returns the bundle with another params.yaml, and without its doors, which have their own.
func (b *Bundle) WithParams(params []byte) (*Bundle, error) {
	return b.With(map[string][]byte{ParamsFile: params})
}

// With returns the bundle with files in place of those of the same name, or beside them. It has no signatures.
func (b *Bundle) With(files map[string][]byte) (*Bundle, error) {
	out := &Bundle{files: map[string][]byte{}}
	for name, data := range b.files {
		if !strings.HasPrefix(name, DoorsFolder+"/") {
			out.files[name] = data
		}
	}
	for name, data := range files {
		if !validName(name) || !known(name) || len(data) > MaxFileBytes {
			return nil, fmt.Errorf("%w: %q has no place in a bundle", ErrRefused, action.Clip(name, maxName))
		}
		out.files[name] = slices.Clone(data)
	}
	for name := range out.files {
		out.names = append(out.names, name)
	}
	slices.Sort(out.names)
	return out, out.interpret()
}

// WithPack returns the bundle without the policies that lie outside the folder pack, and without what its
// manifest settles between packs or its doors decide. A folder without policies is refused.
func (b *Bundle) WithPack(pack string) (*Bundle, error) {
	out := &Bundle{Manifest: b.Manifest, Params: b.Params, files: map[string][]byte{}}
	out.Manifest.Settles = nil
	policies := 0
	for _, name := range b.names {
		if strings.HasPrefix(name, DoorsFolder+"/") {
			continue
		}
		if ext := path.Ext(name); ext == ".rego" || ext == ".cedar" {
			if !strings.HasPrefix(name, pack+"/") {
				continue
			}
			policies++
		}
		out.files[name] = b.files[name]
		out.names = append(out.names, name)
	}
	if policies == 0 {
		return nil, fmt.Errorf("%w: no policy in folder %q", ErrRefused, action.Clip(pack, maxName))
	}
	return out, nil
}

func readSuite(file string, data []byte) (Suite, error) {
	var f suiteFile
	if err := strictyaml.Decode(file, data, &f); err != nil {
		return Suite{}, err
	}
	s := Suite{File: file, Pack: f.Pack}
	var err error
	if !f.Params.IsZero() {
		if s.Params, err = yaml.Marshal(&f.Params); err != nil {
			return Suite{}, fmt.Errorf("%s: params: %w", file, strictyaml.Plain(err))
		}
	}
	given, err := toJSON(&f.Given)
	if err != nil {
		return Suite{}, fmt.Errorf("%s: given: %w", file, err)
	}
	for i, c := range f.Cases {
		at := fmt.Sprintf("%s:%d: case %q", file, c.Query.Line, action.Clip(c.Name, 100))
		if c.Name == "" {
			return Suite{}, fmt.Errorf("%s: case %d: it has no name", file, i+1)
		}
		if !slices.Contains(c.Expect.Values(), string(c.Expect)) {
			return Suite{}, fmt.Errorf("%s: case %q: expect %q is not one of %s", file, action.Clip(c.Name, 100), action.Clip(string(c.Expect), 32), strings.Join(c.Expect.Values(), ", "))
		}
		part, err := toJSON(&c.Query)
		if err != nil {
			return Suite{}, fmt.Errorf("%s: %w", at, err)
		}
		q, err := ReadPartial(given, part)
		if err != nil {
			return Suite{}, fmt.Errorf("%s: %w", at, err)
		}
		s.Cases = append(s.Cases, Case{Name: c.Name, Line: c.Query.Line, Expect: c.Expect, Rules: c.Rules,
			Channel: c.Channel, Obligations: c.Obligations, Query: q})
	}
	return s, nil
}

func toJSON(n *yaml.Node) ([]byte, error) {
	if n.IsZero() {
		return nil, nil
	}
	var v any
	if err := n.Decode(&v); err != nil {
		return nil, strictyaml.Plain(err)
	}
	return json.Marshal(v, json.Deterministic(true))
}

// ReadPartial makes a query from parts of one, later parts over earlier ones; nil parts are skipped.
// What no part states is unknown, also within the elements of lists; a resource without an id gets
// "server/name". Unknown members and words off their list are refused with action.ErrStrict.
func ReadPartial(parts ...[]byte) (*action.Query, error) {
	q := action.NewQuery(action.PhaseUnknown)
	for _, p := range parts {
		if p == nil {
			continue
		}
		if err := action.Check(p, action.Limits{}); err != nil {
			return nil, err
		}
		if err := json.Unmarshal(p, q, json.RejectUnknownMembers(true)); err != nil {
			return nil, fmt.Errorf("%w: %w", action.ErrStrict, cause(err))
		}
	}
	complete(reflect.ValueOf(q).Elem())
	if q.Resource.ID == "" && q.Resource.Server != "" {
		q.Resource.ID = action.ToolKey(q.Resource.Server, q.Resource.Name)
	}
	if err := q.Validate(); err != nil {
		return nil, err
	}
	return q, nil
}

func cause(err error) error {
	var s *json.SemanticError
	if errors.As(err, &s) {
		if s.Err != nil {
			return fmt.Errorf("at %q: %w", s.JSONPointer, s.Err)
		}
		return fmt.Errorf("wrong type at %q", s.JSONPointer)
	}
	return err
}

// complete gives every empty word the value unknown.
func complete(v reflect.Value) {
	if e, ok := v.Interface().(interface{ Values() []string }); ok && v.Kind() == reflect.String {
		if v.String() == "" && slices.Contains(e.Values(), "unknown") {
			v.SetString("unknown")
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			complete(v.Field(i))
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Struct || v.Type().Elem().Kind() == reflect.String {
			for i := range v.Len() {
				complete(v.Index(i))
			}
		}
	}
}
