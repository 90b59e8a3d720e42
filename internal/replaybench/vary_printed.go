// SPDX-License-Identifier: Apache-2.0

package replaybench

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// entries are the maps of a list, of maps by their names, or one map alone.
func (v *value) entries() ([]*value, bool) {
	named := v.kind == 'm' && !slices.ContainsFunc(v.items, func(x *value) bool { return x.kind != 'm' })
	if v.kind == 'm' && !named {
		return []*value{v}, true
	}
	var out []*value
	for i, x := range v.items {
		if x.kind != 'm' {
			return nil, false
		}
		if named {
			x = &value{kind: 'm', keys: append([]string{"name"}, x.keys...), items: append([]*value{{kind: 's', text: v.keys[i]}}, x.items...)}
		}
		out = append(out, x)
	}
	return out, len(out) > 0
}

// asResources is the notation of JSON:API: what identifies an entry stands beside its attributes.
func asResources(v *value) (string, bool) {
	list, ok := v.entries()
	if !ok {
		return "", false
	}
	data := &value{kind: 'l'}
	for i, e := range list {
		id, attributes := &value{kind: 's', text: strconv.Itoa(i + 1)}, &value{kind: 'm'}
		taken := false
		for j, k := range e.keys {
			x := e.items[j]
			if parts := nameParts(k); !taken && len(parts) > 0 && parts[len(parts)-1] == "id" && (x.kind == 's' || x.kind == '0') {
				id, taken = &value{kind: 's', text: x.text}, true
				continue
			}
			attributes.keys, attributes.items = append(attributes.keys, k), append(attributes.items, x)
		}
		data.items = append(data.items, &value{kind: 'm', keys: []string{"type", "id", "attributes"}, items: []*value{{kind: 's', text: "entries"}, id, attributes}})
	}
	links := &value{kind: 'm', keys: []string{"self", "next"}, items: []*value{{kind: 's', text: "/entries?page=1"}, {kind: 'z'}}}
	meta := &value{kind: 'm', keys: []string{"total"}, items: []*value{{kind: '0', text: strconv.Itoa(len(list))}}}
	return (&value{kind: 'm', keys: []string{"data", "links", "meta"}, items: []*value{data, links, meta}}).json(), true
}

// asRowset names the columns once and gives each entry as a list, as servers of databases do.
func asRowset(v *value) (string, bool) {
	list, ok := v.entries()
	if !ok {
		return "", false
	}
	var head []string
	for _, e := range list {
		for _, k := range e.keys {
			if !slices.Contains(head, k) {
				head = append(head, k)
			}
		}
	}
	columns, rows := &value{kind: 'l'}, &value{kind: 'l'}
	for _, k := range head {
		columns.items = append(columns.items, &value{kind: 's', text: k})
	}
	for _, e := range list {
		row := &value{kind: 'l'}
		for _, k := range head {
			x := e.member(k)
			if x == nil {
				x = &value{kind: 'z'}
			}
			row.items = append(row.items, x)
		}
		rows.items = append(rows.items, row)
	}
	count := &value{kind: '0', text: strconv.Itoa(len(list))}
	return (&value{kind: 'm', keys: []string{"columns", "rows", "rowCount"}, items: []*value{columns, rows, count}}).json(), true
}

// asAligned is a table as clients of databases print it, in columns of one width.
func asAligned(v *value) (string, bool) {
	head, rows, ok := v.rows()
	if !ok {
		return "", false
	}
	widths := make([]int, len(head))
	all := append([][]string{head}, rows...)
	for _, r := range all {
		for j := range r {
			r[j] = strings.Join(strings.Fields(r[j]), " ")
			widths[j] = max(widths[j], utf8.RuneCountInString(r[j]))
		}
	}
	var b strings.Builder
	for i, r := range all {
		for j, c := range r {
			if j > 0 {
				b.WriteByte('|')
			}
			b.WriteString(" " + c + strings.Repeat(" ", widths[j]-utf8.RuneCountInString(c)+1))
		}
		b.WriteByte('\n')
		if i > 0 {
			continue
		}
		for j, w := range widths {
			if j > 0 {
				b.WriteByte('+')
			}
			b.WriteString(strings.Repeat("-", w+2))
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "(%d rows)\n", len(rows))
	return b.String(), true
}
