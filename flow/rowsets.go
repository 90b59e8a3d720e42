// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Databases give the names of columns once: as a list beside the rows, or as the head of a printed table. And
// some interfaces put what identifies a record beside a map with all the rest of it.

var (
	columnNames = set(`columns column cols fields field headers header head keys schema names`)
	rowNames    = set(`rows row records record values data tuples items results result`)
	// restNames are what the map is called that holds a record's other members.
	restNames = set(`attributes properties fields`)
)

// tabulate turns columns beside rows into records, wherever they stand in n.
func tabulate(n *node) {
	for _, x := range n.items {
		tabulate(x)
	}
	if n.kind != 'm' {
		return
	}
	head, rows := -1, -1
	for i, k := range n.keys {
		last := lastWord(k)
		switch v := n.items[i]; {
		case v.kind != 'l' || len(v.items) == 0:
		case v.items[0].kind == 'l':
			if rows >= 0 { // which of them the columns are of, nobody says
				return
			}
			rows = i
		case columnNames[last]:
			if head >= 0 {
				return
			}
			head = i
		}
	}
	if head < 0 || rows < 0 || !rowNames[lastWord(n.keys[rows])] {
		return
	}
	names, ok := columnsOf(n.items[head])
	if !ok {
		return
	}
	recs := &node{kind: 'l'}
	for _, r := range n.items[rows].items {
		if r.kind != 'l' || len(r.items) != len(names) {
			return
		}
		recs.items = append(recs.items, &node{kind: 'm', keys: names, items: r.items, row: true})
	}
	n.items[rows] = recs
	n.keys, n.items = slices.Delete(slices.Clone(n.keys), head, head+1), slices.Delete(slices.Clone(n.items), head, head+1)
}

// columnsOf are the names of columns: texts, or maps that have a name.
func columnsOf(l *node) (names []string, ok bool) {
	for _, x := range l.items {
		if x.kind == 'm' {
			if x = x.member("name"); x == nil {
				return nil, false
			}
		}
		if x.kind != 's' {
			return nil, false
		}
		names = append(names, x.text)
	}
	return names, headOf(names)
}

// rest reports whether v is the map of n's other members.
func (n *node) rest(key string, v *node) bool {
	return v.kind == 'm' && restNames[key] && slices.ContainsFunc(n.keys, func(k string) bool { return lastWord(k) == "id" })
}

// counting is the line behind a table that says how many rows it has.
var counting = regexp.MustCompile(`^\(?(\d{1,5}) rows?\b[^\n]{0,40}$`)

// alignedText reads a table whose columns are of one width, with a line under its head, and its number of rows
// behind it. Columns are told by their places, so that no text in a cell can make one; rows are told by their
// number, so that no line break in a cell can make one.
func alignedText(t string) (*node, bool) {
	lines := strings.Split(strings.Trim(t, "\r\n"), "\n")
	lines = slices.DeleteFunc(lines, func(l string) bool { return strings.TrimSpace(l) == "" })
	if len(lines) < 4 || len(lines) > maxRows {
		return nil, false
	}
	said := counting.FindStringSubmatch(strings.TrimSpace(lines[len(lines)-1]))
	if said == nil {
		return nil, false
	}
	lines = lines[:len(lines)-1]
	if rule, ok := ruled(lines[0]); ok && len(rule) > 1 { // a frame around it
		if last, ok := ruled(lines[len(lines)-1]); !ok || !slices.Equal(rule, last) {
			return nil, false
		}
		lines = lines[1 : len(lines)-1]
	}
	if len(lines) < 3 || said[1] != strconv.Itoa(len(lines)-2) {
		return nil, false
	}
	places, ok := ruled(lines[1])
	if !ok || len(places) == 0 {
		return nil, false
	}
	head, ok := cut(lines[0], places)
	if !ok || !headOf(head) {
		return nil, false
	}
	list := &node{kind: 'l'}
	for _, l := range lines[2:] {
		cells, ok := cut(l, places)
		if !ok || len(cells) != len(head) {
			return nil, false
		}
		list.items = append(list.items, rowOf(head, cells))
	}
	return named(list), true
}

// ruled are the places at which a line of dashes crosses columns.
func ruled(line string) (places []int, ok bool) {
	line = strings.TrimRight(line, " \r")
	for i := range len(line) {
		switch line[i] {
		case '-':
		case '+', '|':
			places = append(places, i)
		default:
			return nil, false
		}
	}
	return places, strings.Contains(line, "---") && len(places) <= maxColumns
}

// cut parts a line at places, where bars must stand. What is outside of a frame is no cell.
func cut(line string, places []int) (cells []string, ok bool) {
	rs := []rune(strings.TrimRight(line, "\r"))
	from := 0
	for _, p := range places {
		if p >= len(rs) || rs[p] != '|' {
			return nil, false
		}
		if p > 0 {
			cells = append(cells, strings.TrimSpace(string(rs[from:p])))
		}
		from = p + 1
	}
	if last := strings.TrimSpace(string(rs[min(from, len(rs)):])); places[0] > 0 {
		cells = append(cells, last)
	} else if last != "" {
		return nil, false
	}
	return cells, true
}
