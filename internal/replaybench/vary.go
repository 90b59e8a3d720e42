// SPDX-License-Identifier: Apache-2.0

package replaybench

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// A Variation writes the same recordings as other makers of tools would have: what happens stays, names and
// notations change. It is the same for the same data.
type Variation struct {
	Name, What string

	tool, arg, field func(name string) string // nil leaves the names
	value            func(key string, v *value)
	shape            func(v *value) (string, bool)
	ids, bare        bool                     // other ids; no descriptions
	id               func(text string) string // an id's other form; nil is "obj_" with hexadecimal digits
}

// Variations are all of them, by what they change.
var Variations = []Variation{
	{Name: "camel", What: "names of tools, arguments and fields in camel case", tool: camel, arg: camel, field: camel},
	{Name: "synonyms", What: "other English words for tools, arguments and fields", tool: spoken(otherTools), arg: spoken(otherArguments), field: spoken(otherFields)},
	{Name: "undescribed", What: "the same without any description", tool: spoken(otherTools), arg: spoken(otherArguments), field: spoken(otherFields), bare: true},
	{Name: "german", What: "arguments and fields in German", arg: spoken(german), field: spoken(german)},
	{Name: "opaque", What: "arguments and fields without words: a1, a2, ...", arg: coded("a"), field: coded("f")},
	{Name: "ids", What: "ids of another form", ids: true},
	{Name: "dates", What: "dates in outputs as 5 March 2024", value: otherDates},
	{Name: "amounts", What: "amounts in outputs as 1,200.00 EUR", value: otherAmounts},
	{Name: "json", What: "outputs as JSON", shape: func(v *value) (string, bool) { return v.json(), true }},
	{Name: "blocks", What: "outputs as JSON in the text blocks of MCP", shape: inBlocks},
	{Name: "envelope", What: "outputs as JSON in an envelope with paging", shape: inEnvelope},
	{Name: "table", What: "outputs as tables of Markdown", shape: asTable},
	{Name: "csv", What: "outputs as comma-separated values", shape: asCSV},
	{Name: "xml", What: "outputs as XML", shape: asXML},
	{Name: "prose", What: "outputs as sentences", shape: asProse},
	{Name: "spanish", What: "arguments and fields in Spanish", arg: spoken(spanish), field: spoken(spanish)},
	{Name: "japanese", What: "arguments and fields in Japanese", arg: spoken(japanese), field: spoken(japanese)},
	{Name: "uuids", What: "ids as UUIDs", ids: true, id: uuidOf},
	{Name: "nodes", What: "outputs as connections of GraphQL", shape: asNodes},
	{Name: "logfmt", What: "outputs as lines of key=value", shape: asLogfmt},
	{Name: "bullets", What: "outputs as reports in Markdown", shape: asBullets},
	{Name: "resources", What: "outputs as resources of JSON:API", shape: asResources},
	{Name: "rowset", What: "outputs as columns and rows in JSON", shape: asRowset},
	{Name: "aligned", What: "outputs as tables that a database's client prints", shape: asAligned},
}

// Vary rewrites the recordings by the variation of a name. Only an open loop can be varied: what solves a
// task is left as it is.
func (d *Data) Vary(name string) error {
	i := slices.IndexFunc(Variations, func(v Variation) bool { return v.Name == name })
	if i < 0 {
		var names []string
		for _, v := range Variations {
			names = append(names, v.Name)
		}
		return fmt.Errorf("replay: there is no variation %q; there are %s", name, strings.Join(names, ", "))
	}
	v := &Variations[i]
	ids := idsOf(d, v)
	for suite := range d.Tools {
		for j := range d.Tools[suite] {
			v.define(&d.Tools[suite][j])
		}
		for j := range d.Tenant[suite] {
			d.Tenant[suite][j].Data = v.document(d.Tenant[suite][j].Data, v.field, ids)
		}
	}
	for _, runs := range d.Runs {
		for j := range runs {
			runs[j].Prompt = ids.text(runs[j].Prompt)
			for k := range runs[j].Steps {
				v.step(&runs[j].Steps[k], ids)
			}
		}
	}
	for n, t := range d.Texts {
		t.Text = v.output(t.Text, ids)
		d.Texts[n] = t
	}
	return nil
}

func (v *Variation) step(s *Step, ids idMap) {
	s.Said = ids.text(s.Said)
	for i := range s.Calls {
		c := &s.Calls[i]
		if v.tool != nil {
			c.Tool = v.tool(c.Tool)
		}
		c.Args = v.document(c.Args, v.arg, ids)
	}
}

// define rewrites a tool's definition.
func (v *Variation) define(t *Tool) {
	if v.tool != nil {
		t.Name = v.tool(t.Name)
	}
	if v.bare {
		t.Description = ""
	}
	doc, ok := parseValue(string(t.Schema))
	if v.arg == nil || !ok {
		return
	}
	if v.bare {
		doc.drop("description")
	}
	if props := doc.member("properties"); props != nil {
		for i := range props.keys {
			props.keys[i] = v.arg(props.keys[i])
		}
	}
	if req := doc.member("required"); req != nil {
		for _, x := range req.items {
			x.text = v.arg(x.text)
		}
	}
	t.Schema = jsontext.Value(doc.json())
}

// document rewrites names and ids of a JSON document.
func (v *Variation) document(b jsontext.Value, name func(string) string, ids idMap) jsontext.Value {
	if len(b) == 0 || name == nil && len(ids) == 0 {
		return b
	}
	doc, ok := parseValue(string(b))
	if !ok {
		return b
	}
	doc.rename(name)
	doc.each("", func(key string, x *value) { ids.set(key, x) })
	return jsontext.Value(doc.json())
}

// output rewrites what a tool returned. What is no document stays text.
func (v *Variation) output(text string, ids idMap) string {
	doc, ok := parseOutput(text)
	if !ok {
		return ids.text(text)
	}
	if len(ids) == 0 && v.field == nil && v.value == nil && v.shape == nil {
		return text
	}
	doc.rename(v.field)
	doc.each("", func(key string, x *value) {
		ids.set(key, x)
		if v.value != nil {
			v.value(key, x)
		}
	})
	if v.shape != nil {
		if out, ok := v.shape(doc); ok {
			return out
		}
		return text
	}
	return doc.yaml()
}

// drop takes a member out of every map.
func (v *value) drop(key string) {
	for i := len(v.items) - 1; i >= 0; i-- {
		if v.kind == 'm' && v.keys[i] == key && v.items[i].kind == 's' {
			v.keys, v.items = slices.Delete(v.keys, i, i+1), slices.Delete(v.items, i, i+1)
			continue
		}
		v.items[i].drop(key)
	}
}

// camel writes a name in camel case.
func camel(name string) string {
	var b strings.Builder
	for i, w := range nameParts(name) {
		if i > 0 {
			w = strings.ToUpper(w[:1]) + w[1:]
		}
		b.WriteString(w)
	}
	if b.Len() == 0 {
		return name
	}
	return b.String()
}

// nameParts are the words of a name in lower case.
func nameParts(name string) []string {
	var spaced strings.Builder
	for i, c := range name {
		if i > 0 && unicode.IsUpper(c) && name[i-1] >= 'a' && name[i-1] <= 'z' {
			spaced.WriteByte('_')
		}
		spaced.WriteRune(unicode.ToLower(c))
	}
	return strings.FieldsFunc(spaced.String(), func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) })
}

// spoken exchanges the words of names, whole names first.
func spoken(words map[string]string) func(string) string {
	return func(name string) string {
		parts := nameParts(name)
		whole := strings.Join(parts, "_")
		if to, ok := words[whole]; ok {
			return to
		}
		for i, w := range parts {
			if to, ok := words[w]; ok {
				parts[i] = to
			}
		}
		return strings.Join(parts, "_")
	}
}

// coded gives names without meaning, but leaves what they end with if it says that they identify.
func coded(prefix string) func(string) string {
	return func(name string) string {
		h := fnv.New32a()
		_, _ = h.Write([]byte(strings.Join(nameParts(name), "_")))
		return fmt.Sprintf("%s%d", prefix, h.Sum32()%100000)
	}
}

// idMap gives ids another form.
type idMap map[string]string

// idsOf are all values of fields and arguments that are called ids.
func idsOf(d *Data, v *Variation) idMap {
	if !v.ids {
		return nil
	}
	other := v.id
	if other == nil {
		other = func(text string) string {
			h := fnv.New64a()
			_, _ = h.Write([]byte(text))
			return fmt.Sprintf("obj_%010x", h.Sum64()&0xffffffffff)
		}
	}
	m := idMap{}
	note := func(key string, x *value) {
		parts := nameParts(key)
		if n := len(parts); n == 0 || parts[n-1] != "id" && parts[n-1] != "ids" || x.kind != 's' && x.kind != '0' || x.text == "" || len(x.text) > 40 {
			return
		}
		m[x.text] = other(x.text)
	}
	for _, t := range d.Texts {
		if doc, ok := parseOutput(t.Text); ok {
			doc.each("", note)
		}
	}
	for _, runs := range d.Runs {
		for i := range runs {
			for _, s := range runs[i].Steps {
				for _, c := range s.Calls {
					if doc, ok := parseValue(string(c.Args)); ok {
						doc.each("", note)
					}
				}
			}
		}
	}
	return m
}

// set exchanges the value of an id, wherever it stands as a field's whole value, or a longer one in a text.
func (m idMap) set(key string, x *value) {
	if len(m) == 0 || x.kind != 's' && x.kind != '0' {
		return
	}
	parts := nameParts(key)
	if n := len(parts); n > 0 && (parts[n-1] == "id" || parts[n-1] == "ids") && m[x.text] != "" {
		x.kind, x.text = 's', m[x.text]
	} else if x.kind == 's' {
		x.text = m.text(x.text)
	}
}

// text exchanges the ids of four or more letters that stand in a text as words of their own.
func (m idMap) text(s string) string {
	if len(m) == 0 {
		return s
	}
	var b strings.Builder
	word := func(c byte) bool {
		return c == '-' || c == '_' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c >= 0x80
	}
	for i := 0; i < len(s); {
		j := i
		for j < len(s) && word(s[j]) {
			j++
		}
		if to := m[s[i:j]]; j-i >= 4 && to != "" && strings.ContainsAny(s[i:j], "0123456789") {
			b.WriteString(to)
		} else {
			b.WriteString(s[i:j])
		}
		if j < len(s) {
			b.WriteByte(s[j])
			j++
		}
		i = j
	}
	return b.String()
}

// parseValue reads JSON.
func parseValue(s string) (*value, bool) {
	var v jsontext.Value
	if json.Unmarshal([]byte(s), &v, lenient) != nil {
		return nil, false
	}
	return parseYAML(s)
}
