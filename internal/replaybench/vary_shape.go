// SPDX-License-Identifier: Apache-2.0

package replaybench

import (
	"encoding/csv"
	"encoding/xml"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v3"
)

// value is one value of a document in the order in which it was written.
type value struct {
	kind  byte // 's' text, '0' number, 'b' true or false, 'z' null, 'l' list, 'm' map
	text  string
	keys  []string // of a map, beside items
	items []*value
}

func (v *value) member(key string) *value {
	for i, k := range v.keys {
		if k == key {
			return v.items[i]
		}
	}
	return nil
}

// each calls fn with every scalar and the key it stands under.
func (v *value) each(key string, fn func(key string, x *value)) {
	if v.kind != 'l' && v.kind != 'm' {
		fn(key, v)
		return
	}
	for i, x := range v.items {
		k := key
		if v.kind == 'm' {
			k = v.keys[i]
		}
		x.each(k, fn)
	}
}

// rename changes the keys that are names of fields. Keys with spaces, dots and capitals are values.
func (v *value) rename(name func(string) string) {
	if name == nil {
		return
	}
	for i, x := range v.items {
		if v.kind == 'm' && strings.Trim(v.keys[i], "abcdefghijklmnopqrstuvwxyz0123456789_") == "" {
			v.keys[i] = name(v.keys[i])
		}
		x.rename(name)
	}
}

// parseOutput reads what a tool printed if it is a list or a map, written as YAML, JSON or Python.
func parseOutput(text string) (*value, bool) {
	t := strings.TrimSpace(text)
	if t == "" || strings.IndexByte("{[", t[0]) < 0 && !strings.HasPrefix(t, "- ") && !strings.Contains(t, ": ") {
		return nil, false
	}
	if t[0] == '{' || t[0] == '[' {
		t = fromPython(t)
	}
	v, ok := parseYAML(t)
	if !ok || v.kind != 'l' && v.kind != 'm' || len(v.items) == 0 {
		return nil, false
	}
	for _, k := range v.keys {
		if len(k) > 60 || strings.Contains(k, "\n") {
			return nil, false
		}
	}
	return v, true
}

func parseYAML(text string) (*value, bool) {
	var n yaml.Node
	if yaml.Unmarshal([]byte(text), &n) != nil || len(n.Content) != 1 {
		return nil, false
	}
	return ofNode(n.Content[0])
}

func ofNode(n *yaml.Node) (*value, bool) {
	v := &value{}
	switch n.Kind {
	case yaml.ScalarNode:
		v.text = n.Value
		switch n.ShortTag() {
		case "!!int", "!!float":
			v.kind = '0'
		case "!!bool":
			v.kind, v.text = 'b', strings.ToLower(n.Value)
		case "!!null":
			v.kind = 'z'
		default:
			v.kind = 's'
		}
		return v, true
	case yaml.SequenceNode:
		v.kind = 'l'
	case yaml.MappingNode:
		v.kind = 'm'
	default:
		return nil, false
	}
	for i := 0; i < len(n.Content); i++ {
		if v.kind == 'm' {
			if slices.Contains(v.keys, n.Content[i].Value) {
				return nil, false
			}
			v.keys = append(v.keys, n.Content[i].Value)
			i++
		}
		x, ok := ofNode(n.Content[i])
		if !ok {
			return nil, false
		}
		v.items = append(v.items, x)
	}
	return v, true
}

// fromPython writes the strings and constants of Python's notation as JSON does.
func fromPython(t string) string {
	var b strings.Builder
	for i := 0; i < len(t); {
		c := t[i]
		if c != '\'' && c != '"' {
			for from, to := range map[string]string{"None": "null", "True": "true", "False": "false"} {
				if strings.HasPrefix(t[i:], from) {
					b.WriteString(to)
					i += len(from) - 1
					c = 0
					break
				}
			}
			if c != 0 {
				b.WriteByte(c)
			}
			i++
			continue
		}
		j := i + 1
		for j < len(t) && t[j] != c {
			if t[j] == '\\' {
				j++
			}
			j++
		}
		inner := t[i+1 : min(j, len(t))]
		if c == '\'' {
			inner = strings.ReplaceAll(strings.ReplaceAll(inner, `\'`, `'`), `"`, `\"`)
		} else {
			inner = strings.ReplaceAll(inner, `\'`, `'`)
		}
		b.WriteString(`"` + inner + `"`)
		i = j + 1
	}
	return b.String()
}

func (v *value) json() string {
	var b strings.Builder
	v.writeJSON(&b)
	return b.String()
}

func (v *value) writeJSON(b *strings.Builder) {
	switch v.kind {
	case 'z':
		b.WriteString("null")
	case 'b':
		b.WriteString(v.text)
	case '0':
		if _, err := strconv.ParseFloat(v.text, 64); err == nil && jsontext.Value(v.text).IsValid() { // YAML knows other ways to write numbers
			b.WriteString(v.text)
			return
		}
		fallthrough
	case 's':
		q, _ := jsontext.AppendQuote(nil, v.text) // invalid UTF-8 is replaced
		b.Write(q)
	default:
		open, end := "[", "]"
		if v.kind == 'm' {
			open, end = "{", "}"
		}
		b.WriteString(open)
		for i, x := range v.items {
			if i > 0 {
				b.WriteString(", ")
			}
			if v.kind == 'm' {
				q, _ := jsontext.AppendQuote(nil, v.keys[i])
				b.Write(q)
				b.WriteString(": ")
			}
			x.writeJSON(b)
		}
		b.WriteString(end)
	}
}

// yaml is the notation of most recordings.
func (v *value) yaml() string {
	out, err := yaml.Marshal(v.node())
	if err != nil {
		return v.json()
	}
	return string(out)
}

func (v *value) node() *yaml.Node {
	n := &yaml.Node{}
	switch v.kind {
	case 'l', 'm':
		if n.Kind = yaml.SequenceNode; v.kind == 'm' {
			n.Kind = yaml.MappingNode
		}
		for i, x := range v.items {
			if v.kind == 'm' {
				k := &yaml.Node{}
				k.SetString(v.keys[i])
				n.Content = append(n.Content, k)
			}
			n.Content = append(n.Content, x.node())
		}
	case 's':
		n.SetString(v.text)
	case 'z':
		n.Kind, n.Tag, n.Value = yaml.ScalarNode, "!!null", "null"
	default:
		n.Kind, n.Value = yaml.ScalarNode, v.text
	}
	return n
}

func inBlocks(v *value) (string, bool) {
	block := &value{kind: 'm', keys: []string{"type", "text"}, items: []*value{{kind: 's', text: "text"}, {kind: 's', text: v.json()}}}
	return (&value{kind: 'm', keys: []string{"content", "isError"}, items: []*value{{kind: 'l', items: []*value{block}}, {kind: 'b', text: "false"}}}).json(), true
}

func inEnvelope(v *value) (string, bool) {
	return (&value{kind: 'm', keys: []string{"ok", "total", "next_cursor", "items"}, items: []*value{{kind: 'b', text: "true"},
		{kind: '0', text: strconv.Itoa(len(v.items))}, {kind: 'z'}, v}}).json(), true
}

// rows makes a table of a list of maps, of maps by their names, or of one map; anything else is none.
func (v *value) rows() (head []string, rows [][]string, ok bool) {
	list := v.items
	named := v.kind == 'm'
	for _, x := range list {
		if x.kind != 'm' {
			if !named {
				return nil, nil, false
			}
			return v.fieldRows()
		}
	}
	if named {
		head = append(head, "name")
	}
	for _, x := range list {
		for _, k := range x.keys {
			if !slices.Contains(head, k) {
				head = append(head, k)
			}
		}
	}
	for i, x := range list {
		row := make([]string, 0, len(head))
		for j, k := range head {
			if named && j == 0 {
				row = append(row, v.keys[i])
			} else if m := x.member(k); m != nil {
				row = append(row, m.plain())
			} else {
				row = append(row, "")
			}
		}
		rows = append(rows, row)
	}
	return head, rows, len(rows) > 0
}

func (v *value) fieldRows() (head []string, rows [][]string, ok bool) {
	for i, x := range v.items {
		rows = append(rows, []string{v.keys[i], x.plain()})
	}
	return []string{"field", "value"}, rows, true
}

// plain is a cell's text: a list of scalars with commas, what is nested as JSON.
func (v *value) plain() string {
	switch v.kind {
	case 'z':
		return ""
	case 'm':
		return v.json()
	case 'l':
		parts := make([]string, 0, len(v.items))
		for _, x := range v.items {
			if x.kind == 'l' || x.kind == 'm' {
				return v.json()
			}
			parts = append(parts, x.plain())
		}
		return strings.Join(parts, ", ")
	}
	return v.text
}

func asTable(v *value) (string, bool) {
	head, rows, ok := v.rows()
	if !ok {
		return "", false
	}
	var b strings.Builder
	cell := strings.NewReplacer("\n", "<br>", "|", `\|`)
	line := func(cells []string) {
		for _, c := range cells {
			b.WriteString("| " + cell.Replace(c) + " ")
		}
		b.WriteString("|\n")
	}
	line(head)
	line(strings.Split(strings.TrimSuffix(strings.Repeat("---,", len(head)), ","), ","))
	for _, r := range rows {
		line(r)
	}
	return b.String(), true
}

func asCSV(v *value) (string, bool) {
	head, rows, ok := v.rows()
	if !ok {
		return "", false
	}
	var b strings.Builder
	w := csv.NewWriter(&b)
	if w.Write(head) != nil || w.WriteAll(rows) != nil {
		return "", false
	}
	return b.String(), true
}

func asXML(v *value) (string, bool) {
	var b strings.Builder
	b.WriteString("<?xml version=\"1.0\"?>\n")
	v.writeXML(&b, "result", 0)
	return b.String(), true
}

func (v *value) writeXML(b *strings.Builder, name string, depth int) {
	pad := strings.Repeat("  ", depth)
	tag := strings.Map(func(c rune) rune {
		if c == '_' || c == '-' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' {
			return c
		}
		return -1
	}, name)
	attr := ""
	if tag != name || tag == "" || tag[0] <= '9' {
		var q strings.Builder
		_ = xml.EscapeText(&q, []byte(name))
		tag, attr = "entry", ` name="`+q.String()+`"`
	}
	if v.kind != 'l' && v.kind != 'm' {
		fmt.Fprintf(b, "%s<%s%s>", pad, tag, attr)
		_ = xml.EscapeText(b, []byte(v.plain()))
		fmt.Fprintf(b, "</%s>\n", tag)
		return
	}
	fmt.Fprintf(b, "%s<%s%s>\n", pad, tag, attr)
	for i, x := range v.items {
		k := "item"
		if v.kind == 'm' {
			k = v.keys[i]
		}
		x.writeXML(b, k, depth+1)
	}
	fmt.Fprintf(b, "%s</%s>\n", pad, tag)
}

func asProse(v *value) (string, bool) {
	head, rows, ok := v.rows()
	if !ok {
		return "", false
	}
	var b strings.Builder
	fmt.Fprintf(&b, "I found %d entries.", len(rows))
	for i, r := range rows {
		fmt.Fprintf(&b, " In entry %d, ", i+1)
		for j, c := range r {
			if j > 0 {
				b.WriteString(" and ")
			}
			fmt.Fprintf(&b, "the %s is %s", head[j], c)
		}
		b.WriteString(".")
	}
	return b.String(), true
}

// otherDates writes a value that is a date in words.
func otherDates(_ string, v *value) {
	if v.kind != 's' || len(v.text) < 10 || len(v.text) > 19 {
		return
	}
	if d, err := time.Parse(time.DateOnly, v.text[:10]); err == nil {
		v.text = d.Format("2 January 2006") + v.text[10:]
	}
}

// otherAmounts writes numbers with a fraction as sums of money.
func otherAmounts(_ string, v *value) {
	if v.kind != '0' || !strings.Contains(v.text, ".") {
		return
	}
	f, err := strconv.ParseFloat(v.text, 64)
	if err != nil || f < 10 {
		return
	}
	whole, frac, _ := strings.Cut(strconv.FormatFloat(f, 'f', 2, 64), ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	v.kind, v.text = 's', whole+"."+frac+" EUR"
}
