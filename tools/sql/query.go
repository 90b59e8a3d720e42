// SPDX-License-Identifier: Apache-2.0

package sql

import (
	"slices"
	"strings"

	"github.com/sallyport/sallyport/action"
)

// Words that make a query more than a read wherever they stand unquoted. In Postgres only a data-changing WITH,
// SELECT INTO and the row locks can stand within a query; elsewhere a statement may begin without a semicolon.
var (
	grave = map[string]action.Effect{"insert": action.EffectWrite, "update": action.EffectWrite, "merge": action.EffectWrite,
		"delete": action.EffectDestroy, "into": action.EffectWrite}
	graveElsewhere = set(`drop truncate alter create grant revoke exec execute call copy lock attach detach pragma replace do set declare
		handler load next use kill backup restore begin commit rollback waitfor shutdown reconfigure openrowset openquery dbcc merge deny
		procedure outfile dumpfile print raiserror go analyze vacuum reindex`)
)

// Words that no function can have for its name: before a bracket they call nothing.
var reserved = set(`select from where and or not in any some all exists values as on using order group having union intersect except
	distinct when then else case between with limit offset fetch lateral only table array row returning window default collate for to
	current_date current_timestamp current_time localtime localtimestamp end null true false user asc desc grouping`)

// Operators of MySQL that are words.
var mysqlWords = set(`xor div mod rlike regexp binary like is interval`)

// Types of the grammar that take a length or a literal.
var lengthTypes = set(`varchar char character varying bit numeric decimal dec float timestamp time interval nchar precision`)

// Words that end a list of tables at their own depth.
var endsFrom = set(`where group having window order limit offset fetch for union intersect except returning select`)

// Of them, those that are plain names elsewhere.
var endsElsewhere = set(`window offset fetch returning intersect except`)

// Functions within whose brackets FROM is no list of tables.
var fromInside = set(`extract substring trim overlay position ltrim rtrim btrim`)

type frame struct {
	from   bool   // within a list of tables
	expect bool   // the next name is a table
	on     bool   // within the condition of a join
	opened string // word before the bracket
}

// reader walks the words of one query.
type reader struct {
	d      Dialect
	t      []token
	s      Statement
	frames []frame
	ctes   map[string]bool
	why    string
	effect action.Effect
}

// query reads SELECT, WITH, VALUES and TABLE.
func query(d Dialect, s Statement, t []token) Statement {
	r := reader{d: d, t: t, s: s, frames: []frame{{}}, ctes: map[string]bool{}, effect: action.EffectRead}
	r.findCTEs()
	for i := 0; i < len(t) && r.why == ""; {
		i = r.step(i)
	}
	if len(r.frames) != 1 {
		r.refuse(action.EffectUnknown, "brackets do not match")
	}
	s = r.s
	slices.Sort(s.Tables)
	slices.Sort(s.Functions)
	s.Tables, s.Functions = slices.Compact(s.Tables), slices.Compact(s.Functions)
	if r.why != "" {
		s.Effect, s.Why, s.Writes = r.effect, r.why, action.Yes
		if r.effect == action.EffectUnknown {
			s.Writes = action.TriUnknown
		}
		return s
	}
	s.Effect, s.Writes, s.Known = action.EffectRead, action.No, true
	return s
}

func (r *reader) refuse(e action.Effect, why string) {
	if r.why == "" {
		r.why, r.effect = why, e
	}
}

func (r *reader) get(i int) token {
	if i >= 0 && i < len(r.t) {
		return r.t[i]
	}
	return token{kind: text}
}

func (r *reader) top() *frame { return &r.frames[len(r.frames)-1] }

// findCTEs collects the names that WITH gives: they are no tables and, with a list of columns, no functions.
func (r *reader) findCTEs() {
	for i := range r.t {
		if n := r.cteAt(i); n != "" {
			r.ctes[n] = true
		}
	}
}

// cteAt returns the name at i if it stands where WITH names a query: before AS [NOT] [MATERIALIZED] ( SELECT.
func (r *reader) cteAt(i int) string {
	t, before := r.get(i), r.get(i-1)
	if t.kind != word && t.kind != quoted || !before.is("with") && !before.is("recursive") && !before.is(",") {
		return ""
	}
	j := i + 1
	if r.get(j).is("(") {
		if j = closing(r.t, j) + 1; j == 0 {
			return ""
		}
	}
	if !r.get(j).is("as") {
		return ""
	}
	for j++; r.get(j).is("not") || r.get(j).is("materialized"); j++ {
	}
	if !r.get(j).is("(") {
		return ""
	}
	for j++; r.get(j).is("("); j++ {
	}
	for _, w := range []string{"select", "with", "values", "table", "insert", "update", "delete", "merge"} {
		if r.get(j).is(w) {
			return t.text
		}
	}
	return ""
}

// step reads what stands at i and returns where to go on.
func (r *reader) step(i int) int {
	t := r.t[i]
	switch t.kind {
	case text:
		return i + 1
	case op:
		return r.operator(i)
	case punct:
		return r.bracket(i)
	}
	if t.kind == word {
		if next, done := r.keyword(i); done {
			return next
		}
	}
	return r.name(i)
}

// operators that are built in; any other may be somebody's function.
var operators = set(`+ - * / % ^ = < > <= >= <> != || :: ~ ~* !~ !~* ~~ !~~ ~~* !~~* & | # << >> @> <@ ? ?| ?& -> ->> #> #>> #- @? @@ && -|- &< &> |/ ||/ @ <-> ^@ <=> => |`)

func (r *reader) operator(i int) int {
	s := r.t[i].text
	for !operators[s] { // "=-1" is "=" and "-", but "@-" is an operator of somebody
		if !strings.HasSuffix(s, "-") && !strings.HasSuffix(s, "+") || strings.ContainsAny(s, "~!@#%^&|?") {
			r.refuse(action.EffectUnknown, "the operator "+s+" is not known")
			return i + 1
		}
		s = s[:len(s)-1]
	}
	if s == "=>" && r.d != Postgres {
		r.refuse(action.EffectUnknown, "the operator "+s+" is not known")
	}
	if s == "::" {
		if name, next := qualified(r.t, i+1); name != "" {
			return r.typeName(name, next)
		}
		r.refuse(action.EffectUnknown, "a cast without a type")
	}
	return i + 1
}

// typeName skips the length of a type.
func (r *reader) typeName(name string, i int) int {
	if r.get(i).is("(") && r.get(i+1).kind == text {
		if end := closing(r.t, i); end > 0 {
			return end + 1
		}
	}
	return i
}

func (r *reader) bracket(i int) int {
	top := r.top()
	switch r.t[i].text {
	case "(":
		if len(r.frames) > maxDepth {
			r.refuse(action.EffectUnknown, "nested too deeply")
			return i + 1
		}
		f := frame{opened: r.get(i - 1).text}
		if top.expect {
			top.expect = false
			sub := r.get(i + 1)
			f.from = !sub.is("select") && !sub.is("with") && !sub.is("values")
			f.expect = f.from
		}
		r.frames = append(r.frames, f)
	case ")":
		if len(r.frames) == 1 || top.expect {
			r.refuse(action.EffectUnknown, "brackets do not match")
			return i + 1
		}
		r.frames = r.frames[:len(r.frames)-1]
	case ",":
		top.expect, top.on = top.from, false
	}
	return i + 1
}

// keyword handles the words that matter. done is false for a word that may be a name.
func (r *reader) keyword(i int) (next int, done bool) {
	w, top := r.t[i].text, r.top()
	if r.get(i - 1).is(".") {
		return 0, false
	}
	if e, ok := grave[w]; ok {
		r.refuse(e, "it holds "+strings.ToUpper(w))
		return i + 1, true
	}
	if r.d != Postgres && graveElsewhere[w] && !(w == "replace" && r.get(i+1).is("(") && i > 0) {
		r.refuse(action.EffectUnknown, "it holds "+strings.ToUpper(w))
		return i + 1, true
	}
	switch w {
	case "from":
		if r.get(i-1).is("distinct") && (r.get(i-2).is("is") || r.get(i-2).is("not")) || fromInside[top.opened] {
			return i + 1, true
		}
		top.from, top.expect, top.on = true, true, false
		return i + 1, true
	case "join", "straight_join":
		if top.from {
			top.expect, top.on = true, false
			return i + 1, true
		}
	case "table":
		top.from, top.expect = false, true
		return i + 1, true
	case "for":
		if n := r.get(i + 1); n.is("share") || n.is("key") || n.is("no") {
			r.refuse(action.EffectWrite, "it locks rows")
			return i + 1, true
		}
	case "on":
		top.on = true
	case "only", "lateral", "rows":
		if top.expect && !r.get(i+1).is(".") && r.get(i+1).kind != punct {
			return i + 1, true
		}
	}
	if endsFrom[w] && (top.from || top.expect) {
		if top.expect || r.d != Postgres && endsElsewhere[w] {
			r.refuse(action.EffectUnknown, "a list of tables does not end plainly before "+strings.ToUpper(w))
		}
		top.from, top.on = false, false
	}
	if reserved[w] || r.d == MySQL && mysqlWords[w] {
		return i + 1, true
	}
	if r.context(i) {
		return i + 1, true
	}
	return 0, false
}

// name reads a qualified name: a table where one is expected, a function before a bracket, else a column, an
// alias or a word of the grammar.
func (r *reader) name(i int) int {
	top, before := r.top(), r.get(i-1)
	name, next := qualified(r.t, i)
	if len(r.s.Tables)+len(r.s.Functions) > maxNames {
		r.refuse(action.EffectUnknown, "too many names")
		return next
	}
	called := r.get(next).is("(")
	switch {
	case before.is("as"):
		// An alias, with a list of columns, or the type of a cast.
		if top.opened == "cast" || top.opened == "try_cast" {
			return r.typeName(name, next)
		}
		top.expect = false
		return r.columns(next)
	case r.d == Postgres && name == "operator" && called:
		return r.qualifiedOperator(next)
	case called && r.cteAt(i) != "":
		return r.columns(next)
	case called && r.d == Postgres && r.t[i].kind == word && next == i+1 && lengthTypes[name]:
		return r.typeName(name, next)
	case called && top.from && !top.expect && before.kind != punct && before.kind != op && next == i+1 && !top.on && aliased(before):
		return r.columns(next) // "t (a, b)" behind a table
	case called:
		top.expect = false
		r.call(name, i)
		return next
	case top.expect:
		top.expect = false
		if !(r.ctes[name] && next == i+1) {
			r.s.Tables = append(r.s.Tables, name)
		}
		if r.get(next).is("*") { // "t *" is t with its children
			next++
		}
	}
	return next
}

// context reports whether the word at i stands where the grammar puts it before a bracket. Elsewhere it may be
// somebody's function.
func (r *reader) context(i int) bool {
	before, after := r.get(i-1), r.get(i+1)
	if !after.is("(") {
		return false
	}
	switch r.t[i].text {
	case "over":
		return before.is(")")
	case "filter":
		return before.is(")") && r.get(i+2).is("where")
	case "by":
		return before.is("group") || before.is("order") || before.is("partition")
	case "sets":
		return before.is("grouping")
	case "first", "next":
		return before.is("fetch")
	case "bernoulli", "system":
		return before.is("tablesample")
	case "materialized":
		return before.is("as") || before.is("not")
	case "like", "ilike":
		return i > 0 && (before.kind != punct || before.is(")") || before.is("]")) && before.kind != op && !reserved[before.text]
	}
	return false
}

// aliased reports whether an alias may stand behind t: a name or a closing bracket do, keywords do not.
func aliased(t token) bool {
	return t.kind == quoted || t.kind == word && !reserved[t.text]
}

// qualifiedOperator reads OPERATOR(pg_catalog.+).
func (r *reader) qualifiedOperator(i int) int {
	if r.get(i+1).is("pg_catalog") && r.get(i+2).is(".") && r.get(i+3).kind == op && operators[r.get(i+3).text] && r.get(i+4).is(")") {
		return i + 5
	}
	r.refuse(action.EffectUnknown, "an operator that is not built in")
	return i + 1
}

// columns skips the list of columns behind an alias: names, types and lengths.
func (r *reader) columns(i int) int {
	if !r.get(i).is("(") {
		return i
	}
	depth := 0
	for j := i; j < len(r.t); j++ {
		switch t := r.t[j]; {
		case t.is("("):
			if depth++; depth > 2 || depth == 2 && (r.get(j+1).kind != text || r.get(j-2).kind != word) {
				r.refuse(action.EffectUnknown, "a list of columns is not plain")
				return j + 1
			}
		case t.is(")"):
			if depth--; depth == 0 {
				return j + 1
			}
		case t.kind == op, t.kind == text && depth == 1, t.kind == word && (reserved[t.text] || grave[t.text] != ""):
			r.refuse(action.EffectUnknown, "a list of columns is not plain")
			return j + 1
		}
	}
	return i
}

// call judges a function by its name.
func (r *reader) call(name string, i int) {
	r.s.Functions = append(r.s.Functions, name)
	short, schema := name, ""
	if n := strings.LastIndexByte(name, '.'); n >= 0 {
		schema, short = name[:n], name[n+1:]
	}
	if (schema != "" && schema != "pg_catalog") || !pure(r.d, short) {
		r.refuse(action.EffectUnknown, "the function "+name+" is not known to be pure")
	}
}
