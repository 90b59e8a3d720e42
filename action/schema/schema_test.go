// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/sallyport/sallyport/action"
)

var update = flag.Bool("update", false, "write the schemas anew")

func TestWrittenSchemasAreCurrent(t *testing.T) {
	j, err := WriteJSON()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]byte{"agent.v1.schema.json": j, "agent.v1.cedarschema": WriteCedar(), "meanings.txt": fieldComments(t)} {
		if *update {
			if err := os.WriteFile(name, want, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what the types say (%v); renew it with: go test ./action/schema -update", name, err)
		}
	}
}

func TestJSONSchemaAgreesWithTheStrictReader(t *testing.T) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(JSON))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("agent.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("agent.json")
	if err != nil {
		t.Fatal(err)
	}
	full := action.NewQuery(action.After)
	full.Action.Paths = []action.Path{{Inside: action.Yes, Traverse: action.No, Private: action.No, Exists: action.Yes, Access: action.EffectRead}}
	good, err := action.Canonical(full)
	if err != nil {
		t.Fatal(err)
	}
	for name, doc := range map[string][]byte{
		"the document of unknowns":  good,
		"an unknown member":         bytes.Replace(good, []byte(`"round":0`), []byte(`"round":0,"x":1`), 1),
		"a word off the list":       bytes.Replace(good, []byte(`"phase":"after"`), []byte(`"phase":"during"`), 1),
		"a float":                   bytes.Replace(good, []byte(`"round":0`), []byte(`"round":0.5`), 1),
		"a score beyond certainty":  bytes.Replace(good, []byte(`"risk_milli":1000`), []byte(`"risk_milli":1001`), 1),
		"arguments that are a list": bytes.Replace(good, []byte(`"arguments":{}`), []byte(`"arguments":[]`), 1),
	} {
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
		if err != nil {
			t.Fatal(err)
		}
		schemaErr := s.Validate(v)
		_, readErr := action.ReadQuery(doc)
		if (schemaErr == nil) != (readErr == nil) {
			t.Errorf("%s: the schema says %v, the reader %v", name, schemaErr, readErr)
		}
		if (name == "the document of unknowns") != (readErr == nil) {
			t.Errorf("%s: %v", name, readErr)
		}
	}
}

// fieldComments reads the comments of the words' fields: one "Type.name" and its text a line.
func fieldComments(t *testing.T) []byte {
	t.Helper()
	files, err := filepath.Glob("../*.go")
	if err != nil || len(files) == 0 {
		t.Fatal("no sources of the words", err)
	}
	said := map[string]string{}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			st, ok := spec.Type.(*ast.StructType)
			if !ok {
				return true
			}
			for _, field := range st.Fields.List {
				if field.Tag == nil || field.Comment == nil {
					continue
				}
				name := reflect.StructTag(strings.Trim(field.Tag.Value, "`")).Get("json")
				said[spec.Name.Name+"."+name] = strings.Join(strings.Fields(field.Comment.Text()), " ")
			}
			return true
		})
	}
	var out bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(said)) {
		fmt.Fprintf(&out, "%s\t%s\n", name, said[name])
	}
	return out.Bytes()
}

func TestFactsAreTheDocumentAsATree(t *testing.T) {
	find := func(path string) (f Fact) {
		list := Facts()
		for name := range strings.SplitSeq(path, ".") {
			i := slices.IndexFunc(list, func(f Fact) bool { return f.Name == name })
			if i < 0 {
				t.Fatalf("%s: no %q", path, name)
			}
			f, list = list[i], list[i].Members
		}
		return f
	}
	if f := find("action.paths.inside"); f.Path != "action.paths[].inside" || !slices.Equal(f.Words, action.Tri("").Values()) || f.List {
		t.Errorf("%+v", f)
	}
	if f := find("action.paths"); !f.List || f.Type != "list of record" || f.Words != nil {
		t.Errorf("%+v", f)
	}
	if f := find("subject.delegation.scopes"); !f.List || f.Words == nil || f.Members != nil {
		t.Errorf("%+v", f)
	}
	if f := find("id"); f.Meaning == "" || f.Type != "text" {
		t.Errorf("%+v", f)
	}
}
