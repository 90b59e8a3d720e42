// SPDX-License-Identifier: Apache-2.0

package schema

import (
	_ "embed"
	"reflect"
	"strings"
	"sync"

	"github.com/sallyport/sallyport/action"
)

//go:embed meanings.txt
var meanings string

// Fact is one name of agent.v1 with what it stands for.
type Fact struct {
	Name    string   // "inside"
	Path    string   // "action.paths[].inside"
	Type    string   // for people: "list of record", or the words that it can be, with commas between
	Words   []string // those words; nil if it is none
	Meaning string   // one line; "" where the name says it all
	List    bool     // it is a list; Words and Members are of its elements
	Members []Fact   // of a record
}

// Facts returns the names of agent.v1 as a tree, in the order of the document. The caller must not change it.
func Facts() []Fact { return facts() }

var facts = sync.OnceValue(func() []Fact {
	said := map[string]string{}
	for line := range strings.Lines(meanings) {
		name, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		said[name] = text
	}
	return factsOf(reflect.TypeFor[action.Query](), "", said)
})

func factsOf(t reflect.Type, path string, said map[string]string) []Fact {
	out := make([]Fact, 0, t.NumField())
	for i := range t.NumField() {
		name := t.Field(i).Tag.Get("json")
		f := Fact{Name: name, Path: path + name, Meaning: said[t.Name()+"."+name]}
		var of reflect.Type
		f.Type, f.Words, of = typeName(t.Field(i).Type)
		below := f.Path + "."
		if f.List = t.Field(i).Type.Kind() == reflect.Slice && t.Field(i).Type != rawType; f.List {
			below = f.Path + "[]."
		}
		if of != nil {
			f.Members = factsOf(of, below, said)
		}
		out = append(out, f)
	}
	return out
}

// typeName names a type for people, with its words and, of a record or a list of records, the record.
func typeName(t reflect.Type) (name string, words []string, record reflect.Type) {
	if t == rawType {
		return "any JSON", nil, nil
	}
	if t.Implements(enumType) {
		words = reflect.Zero(t).Interface().(enumerated).Values()
		return strings.Join(words, ", "), words, nil
	}
	switch t.Kind() {
	case reflect.Struct:
		return "record", nil, t
	case reflect.Slice:
		name, words, record = typeName(t.Elem())
		return "list of " + name, words, record
	case reflect.Bool:
		return "true or false", nil, nil
	case reflect.Int, reflect.Int64:
		return "integer", nil, nil
	}
	return "text", nil, nil
}
