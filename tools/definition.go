// SPDX-License-Identifier: Apache-2.0

package tools

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/sallyport/sallyport/action"
)

// Definition is one tool as a server lists it. Complete holds every member that was listed, known to us
// or not, in canonical form; the digest is taken over it, so nothing can change unseen.
type Definition struct {
	Name         string
	Title        string
	Description  string
	InputSchema  jsontext.Value
	OutputSchema jsontext.Value
	Annotations  Annotations
	Complete     jsontext.Value
}

// Annotations are the server's hints. They are claims.
type Annotations struct {
	Title       string     `json:"title"`
	ReadOnly    action.Tri `json:"-"`
	Destructive action.Tri `json:"-"`
	Idempotent  action.Tri `json:"-"`
	OpenWorld   action.Tri `json:"-"`
}

// ReadDefinition reads one element of a tools/list result. It refuses what action.Check refuses, what is
// larger than MaxDefinitionBytes, a missing name and members of the wrong type; unknown members are kept.
func ReadDefinition(raw []byte) (Definition, error) {
	var d Definition
	if err := action.Check(raw, action.Limits{Bytes: MaxDefinitionBytes}); err != nil {
		return d, fmt.Errorf("%w: %w", ErrDefinition, err)
	}
	members, ok := members(raw)
	if !ok {
		return d, fmt.Errorf("%w: not an object", ErrDefinition)
	}
	d.Annotations = Annotations{ReadOnly: action.TriUnknown, Destructive: action.TriUnknown,
		Idempotent: action.TriUnknown, OpenWorld: action.TriUnknown}
	for name, v := range members {
		good := true
		switch name {
		case "name":
			d.Name, good = text(v)
		case "title":
			d.Title, good = text(v)
		case "description":
			d.Description, good = text(v)
		case "inputSchema":
			d.InputSchema, good = v, v.Kind() == '{'
		case "outputSchema":
			d.OutputSchema, good = v, v.Kind() == '{'
		case "annotations":
			good = d.Annotations.read(v)
		}
		if !good {
			return d, fmt.Errorf("%w: member %q has the wrong type", ErrDefinition, name)
		}
	}
	if !validName(d.Name) {
		return d, fmt.Errorf("%w: name %q", ErrDefinition, action.Clip(d.Name, 64))
	}
	d.Complete = jsontext.Value(append([]byte(nil), raw...))
	if err := d.Complete.Canonicalize(); err != nil {
		return d, fmt.Errorf("%w: %w", ErrDefinition, err)
	}
	return d, nil
}

func (a *Annotations) read(v jsontext.Value) bool {
	members, ok := members(v)
	if !ok {
		return false
	}
	for name, v := range members {
		var t *action.Tri
		switch name {
		case "title":
			if a.Title, ok = text(v); !ok {
				return false
			}
			continue
		case "readOnlyHint":
			t = &a.ReadOnly
		case "destructiveHint":
			t = &a.Destructive
		case "idempotentHint":
			t = &a.Idempotent
		case "openWorldHint":
			t = &a.OpenWorld
		default:
			continue
		}
		switch v.Kind() {
		case 't':
			*t = action.Yes
		case 'f':
			*t = action.No
		default:
			return false
		}
	}
	return true
}

// digest is over the server's name and the complete definition.
func (d *Definition) digest(server string) (string, error) {
	return digestOf(struct {
		Server string         `json:"server"`
		Tool   jsontext.Value `json:"tool"`
	}{server, d.Complete})
}

// Shape is the digest of the complete definition without the server's name: what packs pin, because the
// name of a server is ours.
func (d *Definition) Shape() string { return sum(d.Complete) }

// text returns every text of the definition that a model reads: name, title, description, and all
// descriptions and titles in the schemas, each on a line.
func (d *Definition) text() string {
	var b strings.Builder
	for _, s := range []string{d.Name, d.Title, d.Annotations.Title, d.Description} {
		if s != "" {
			b.WriteString(s)
			b.WriteByte('\n')
		}
	}
	schemaText(&b, d.InputSchema)
	schemaText(&b, d.OutputSchema)
	return b.String()
}

// schemaText collects every string of a schema: a model sees all of them, defaults and enums included.
func schemaText(b *strings.Builder, v jsontext.Value) {
	dec := decoder(v)
	for {
		tok, err := dec.ReadToken()
		if err != nil {
			return
		}
		if tok.Kind() == '"' {
			b.WriteString(tok.String())
			b.WriteByte('\n')
		}
	}
}

// members returns the members of a JSON object that action.Check has accepted.
func members(v jsontext.Value) (map[string]jsontext.Value, bool) {
	if v.Kind() != '{' {
		return nil, false
	}
	dec := decoder(v)
	if _, err := dec.ReadToken(); err != nil {
		return nil, false
	}
	out := map[string]jsontext.Value{}
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return nil, false
		}
		n := name.String()
		value, err := dec.ReadValue()
		if err != nil {
			return nil, false
		}
		out[n] = value.Clone()
	}
	return out, true
}

// elements returns the elements of a JSON array, or nil.
func elements(v jsontext.Value) []jsontext.Value {
	if v.Kind() != '[' {
		return nil
	}
	dec := decoder(v)
	if _, err := dec.ReadToken(); err != nil {
		return nil
	}
	var out []jsontext.Value
	for dec.PeekKind() != ']' {
		e, err := dec.ReadValue()
		if err != nil {
			return nil
		}
		out = append(out, e.Clone())
	}
	return out
}

// text returns the string that v is.
func text(v jsontext.Value) (string, bool) {
	if v.Kind() != '"' {
		return "", false
	}
	s, err := jsontext.AppendUnquote(nil, v)
	return string(s), err == nil
}

// digestOf is "sha256:" and the hash of v in canonical form.
func digestOf(v any) (string, error) {
	b, err := action.Canonical(v)
	if err != nil {
		return "", err
	}
	return sum(b), nil
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(h[:])
}
