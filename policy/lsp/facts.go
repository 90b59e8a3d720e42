// SPDX-License-Identifier: Apache-2.0

package lsp

import (
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/sallyport/sallyport/action/schema"
	"github.com/sallyport/sallyport/policy/bundle"
)

// position is a place in a text, from 0; the character counts UTF-16 units.
type position struct {
	Line      int `json:"line"`
	Character int `json:"character"`
}

// The kinds of completions that are used here.
const (
	kindField = 5
	kindValue = 12
)

// inRego is the tree of names below input, with the parameters below data.
var inRego = []schema.Fact{
	{Name: "input", Type: "record", Meaning: "the input document agent.v1", Members: schema.Facts()},
	{Name: "data", Type: "record", Meaning: "the bundle's data", Members: []schema.Fact{parameters()}},
}

// inCedar is the tree of names below context, as cedar.Evaluator makes it: lists of records come by columns.
var inCedar = []schema.Fact{{Name: "context", Type: "record", Meaning: "the facts of agent.v1", Members: cedarMembers()}}

func parameters() schema.Fact {
	f := schema.Fact{Name: "params", Path: "params", Type: "record", Meaning: "the bundle's params.yaml"}
	t := reflect.TypeFor[bundle.Params]()
	for i := range t.NumField() {
		name := t.Field(i).Tag.Get("json")
		kind := map[reflect.Kind]string{reflect.Bool: "true or false", reflect.Int64: "integer", reflect.Slice: "list of text"}[t.Field(i).Type.Kind()]
		f.Members = append(f.Members, schema.Fact{Name: name, Path: "params." + name, Type: kind, List: kind == "list of text"})
	}
	return f
}

func cedarMembers() []schema.Fact {
	var out []schema.Fact
	for _, f := range schema.Facts() {
		switch f.Name {
		case "context":
			out = append(out, columns(f.Members)...)
		case "id":
		default:
			out = append(out, columns([]schema.Fact{f})...)
		}
	}
	return append(out, parameters())
}

// columns is a list of facts as Cedar sees it.
func columns(facts []schema.Fact) []schema.Fact {
	var out []schema.Fact
	for _, f := range facts {
		if f.Type == "any JSON" && f.Name != "arguments" {
			continue
		}
		f.Members = columns(f.Members)
		if f.List && f.Members != nil {
			f.Type = "record of sets, one for each field of the list's records"
			for i := range f.Members {
				f.Members[i].Type = "set of " + strings.TrimPrefix(f.Members[i].Type, "list of ")
			}
			f.Members = append([]schema.Fact{{Name: "count", Type: "integer", Meaning: "how many there are"}}, f.Members...)
		}
		out = append(out, f)
	}
	return out
}

var (
	// reference is a path of names at the end of a text, with whatever was begun of the last.
	reference = regexp.MustCompile(`([A-Za-z_][A-Za-z0-9_]*(?:\[[^][]*\])?(?:\.[A-Za-z_][A-Za-z0-9_]*(?:\[[^][]*\])?)*)\.([A-Za-z_][A-Za-z0-9_]*)?$`)
	// compared is a fact before a text that was begun.
	compared = regexp.MustCompile(`([A-Za-z_][A-Za-z0-9_.]*(?:\[[^][]*\][A-Za-z0-9_.]*)*)\s*(?:==|!=|in|\.contains\(|\.containsAny\(|\.containsAll\()\s*[\[{(]?(?:"[^"]*",\s*)*"([^"]*)$`)
	indexes  = regexp.MustCompile(`\[[^][]*\]`)
	named    = regexp.MustCompile(`\b(?:some|every)\s+(?:[a-z_]\w*\s*,\s*)?([A-Za-z_]\w*)\s+in\s+([A-Za-z_][\w.]*)|\b([A-Za-z_]\w*)\s*:=\s*([A-Za-z_][\w.\[\]]*)`)
	word     = regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_]*(?:\[[^][]*\])?(?:\.[A-Za-z_][A-Za-z0-9_]*(?:\[[^][]*\])?)*`)
)

// complete lists what may follow at a place of the text: names of facts after a dot, and words within quotes.
func complete(name, text string, at position) []object {
	tree := treeOf(name)
	before, whole := upTo(text, at)
	if tree == nil {
		return []object{}
	}
	out := []object{}
	if m := compared.FindStringSubmatch(before); m != nil {
		f := find(tree, m[1], whole)
		if f == nil {
			return out
		}
		for _, w := range f.Words {
			out = append(out, object{"label": w, "kind": kindValue, "detail": f.Path})
		}
		return out
	}
	m := reference.FindStringSubmatch(before)
	if m == nil {
		return out
	}
	f := find(tree, m[1], whole)
	if f == nil {
		return out
	}
	for _, member := range f.Members {
		item := object{"label": member.Name, "kind": kindField, "detail": member.Type}
		if member.Meaning != "" {
			item["documentation"] = member.Meaning
		}
		out = append(out, item)
	}
	return out
}

// hover explains the fact at a place of the text; nil where there is none.
func hover(name, text string, at position) any {
	tree := treeOf(name)
	before, whole := upTo(text, at)
	if tree == nil {
		return nil
	}
	line := before[strings.LastIndexByte(before, '\n')+1:]
	rest, _, _ := strings.Cut(text[len(before):], "\n")
	for _, span := range word.FindAllStringIndex(line+rest, -1) {
		if span[0] > len(line) || span[1] < len(line) {
			continue
		}
		// Up to the end of the name that is pointed at.
		path := (line + rest)[span[0]:span[1]]
		if i := strings.IndexByte(path[min(len(line)-span[0], len(path)):], '.'); i >= 0 {
			path = path[:len(line)-span[0]+i]
		}
		f := find(tree, path, whole)
		if f == nil {
			return nil
		}
		value := "`" + f.Path + "`: " + f.Type
		if f.Path == "" {
			value = "`" + f.Name + "`: " + f.Type
		}
		if f.Meaning != "" {
			value += "\n\n" + f.Meaning
		}
		return object{"contents": object{"kind": "markdown", "value": value}}
	}
	return nil
}

func treeOf(name string) []schema.Fact {
	switch path.Ext(name) {
	case ".rego":
		return inRego
	case ".cedar":
		return inCedar
	}
	return nil
}

// maxNames bounds how often a name stands for another.
const maxNames = 8

// find follows a path of names from the tree. A first name that the text before gave to something stands for that.
func find(tree []schema.Fact, ref, before string) *schema.Fact {
	var f *schema.Fact
	for range maxNames {
		names := strings.Split(indexes.ReplaceAllString(ref, ""), ".")
		list := tree
		if slices.ContainsFunc(tree, func(t schema.Fact) bool { return t.Name == names[0] }) {
			for _, n := range names {
				i := slices.IndexFunc(list, func(t schema.Fact) bool { return t.Name == n })
				if i < 0 {
					return nil
				}
				f, list = &list[i], list[i].Members
			}
			return f
		}
		stands := ""
		for _, m := range named.FindAllStringSubmatch(before, -1) {
			if m[1] == names[0] {
				stands = m[2]
			}
			if m[3] == names[0] {
				stands = m[4]
			}
		}
		if stands == "" {
			return nil
		}
		ref = strings.Join(append([]string{stands}, names[1:]...), ".")
	}
	return nil
}

// lookBack is how much of the text before a place is looked at for what a name stands for.
const lookBack = 64 << 10

// upTo returns the text before a place, and the last part of it.
func upTo(text string, at position) (before, near string) {
	end := 0
	for range at.Line {
		i := strings.IndexByte(text[end:], '\n')
		if i < 0 {
			return text, text[max(len(text)-lookBack, 0):]
		}
		end += i + 1
	}
	for units := 0; units < at.Character && end < len(text) && text[end] != '\n'; {
		r, n := utf8.DecodeRuneInString(text[end:])
		if units++; r > 0xffff {
			units++
		}
		end += n
	}
	return text[:end], text[max(end-lookBack, 0):end]
}
