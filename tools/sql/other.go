// SPDX-License-Identifier: Apache-2.0

package sql

import (
	"slices"
	"strings"

	"github.com/sallyport/sallyport/action"
)

// control makes s a statement that steers its session and touches no data.
func control(s Statement) Statement {
	s.Effect, s.Writes, s.Known, s.Control = action.EffectRead, action.No, true, true
	return s
}

// explain reads the statement that is explained: ANALYZE runs it. DESCRIBE t is a read of the catalogue.
func explain(d Dialect, s Statement, t []token) Statement {
	i := 1
	if i < len(t) && t[i].is("(") {
		for i < len(t) && !t[i].is(")") {
			if t[i].kind == text || t[i].kind == op {
				return unknown(s.Verb, "its options are not plain words")
			}
			i++
		}
		i++
	}
	for i < len(t) && (t[i].is("analyze") || t[i].is("analyse") || t[i].is("verbose") || t[i].is("extended")) {
		i++
	}
	if i >= len(t) {
		return unknown(s.Verb, "it explains nothing")
	}
	if i == 1 && d == MySQL {
		if name, end := qualified(t, i); end == len(t) && name != "" {
			s.Effect, s.Writes, s.Known, s.Tables = action.EffectRead, action.No, true, []string{name}
			return s
		}
	}
	if d == Generic && s.Verb != "EXPLAIN" || t[i].is("explain") || t[i].is("execute") {
		return unknown(s.Verb, "what it explains is not plain")
	}
	in := statement(d, t[i:])
	if in.Control {
		return unknown(s.Verb, "what it explains is no query")
	}
	in.Verb = s.Verb
	return in
}

// copied reads COPY: out to the client is a read of the table or query; anything else is not.
func copied(d Dialect, s Statement, t []token) Statement {
	if d != Postgres {
		return unknown(s.Verb, "its verb is not known")
	}
	s.Effect, s.Writes, s.Why = action.EffectWrite, action.Yes, "it copies into a table"
	in, i := Statement{}, 1
	if i < len(t) && t[i].is("(") {
		end := closing(t, i)
		if end < 0 {
			return unknown(s.Verb, "brackets do not match")
		}
		in, i = statement(d, t[i+1:max(end, i+2)]), end+1
	} else {
		name, end := qualified(t, i)
		in = Statement{Effect: action.EffectRead, Writes: action.No, Tables: []string{name}, Known: name != ""}
		if i = end; i < len(t) && t[i].is("(") {
			if i = closing(t, i) + 1; i == 0 {
				return unknown(s.Verb, "brackets do not match")
			}
		}
	}
	s.Tables, s.Functions = in.Tables, in.Functions
	if i+1 >= len(t) || !t[i].is("to") {
		return s
	}
	if !t[i+1].is("stdout") {
		s.Effect, s.Why = action.EffectExecute, "it copies to a file or program of the server"
		return s
	}
	for _, o := range t[i+2:] {
		if o.is("program") || o.is("from") || o.is("to") {
			return unknown(s.Verb, "its options are not plain")
		}
	}
	in.Verb = s.Verb
	if in.Control {
		return unknown(s.Verb, "it copies no query")
	}
	return in
}

// closing returns the index of the bracket that closes the one at i, -1 if none does.
func closing(t []token, i int) int {
	depth := 0
	for ; i < len(t); i++ {
		switch {
		case t[i].is("("):
			depth++
		case t[i].is(")"):
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// named reads PREPARE name (types) AS statement and DECLARE name CURSOR FOR query.
func named(d Dialect, s Statement, t []token) Statement {
	until, stop := "as", len(t)
	if s.Verb == "DECLARE" {
		until = "for"
	}
	for i := 1; i < min(stop, 24); i++ {
		if t[i].is(until) && i+1 < len(t) {
			if t[i+1].kind == text || d == MySQL {
				break // MySQL prepares the text of a string
			}
			in := statement(d, t[i+1:])
			if in.Control {
				break
			}
			in.Verb = s.Verb
			return in
		}
	}
	return unknown(s.Verb, "what it names is not plain")
}

// settings that change how values look or how long things may take, and nothing that a statement means.
var settings = set(`datestyle intervalstyle timezone application_name extra_float_digits client_min_messages bytea_output
	statement_timeout lock_timeout idle_in_transaction_session_timeout`)

func setting(d Dialect, s Statement, t []token) Statement {
	s.Effect, s.Writes, s.Why = action.EffectAdmin, action.Yes, "it changes a setting"
	i := 1
	if i < len(t) && (t[i].is("session") || t[i].is("local")) {
		i++
	}
	if d != Postgres || i >= len(t) || t[i].kind != word {
		return s
	}
	switch {
	case i+1 < len(t) && t[i].is("transaction"), i+2 < len(t) && t[i].is("characteristics"):
		if modes(t[i:]) {
			return control(Statement{Verb: s.Verb})
		}
	case t[i].is("time") && i+1 < len(t) && t[i+1].is("zone"):
		return control(Statement{Verb: s.Verb})
	case settings[t[i].text] && i+1 < len(t) && (t[i+1].is("to") || t[i+1].is("=")):
		for _, v := range t[i+2:] {
			if v.is("(") {
				return s
			}
		}
		return control(Statement{Verb: s.Verb})
	}
	return s
}

var modeWords = set(`transaction isolation level serializable repeatable read committed uncommitted only not deferrable work session
	characteristics as and chain no prepared to savepoint begin start commit end rollback abort release`)

// modes reports whether every word steers a transaction, and none makes it one that writes.
func modes(t []token) bool {
	for _, w := range t {
		if w.is(",") {
			continue
		}
		if w.kind != word || !modeWords[w.text] || w.text == "prepared" {
			return false
		}
	}
	return true
}

func transaction(s Statement, t []token) Statement {
	if slices.Contains([]string{"SAVEPOINT", "RELEASE"}, s.Verb) || s.Verb == "ROLLBACK" && slices.ContainsFunc(t, func(x token) bool { return x.is("to") }) {
		t = t[:len(t)-1] // the name
	}
	if !modes(t) {
		s.Effect, s.Writes, s.Why = action.EffectWrite, action.Yes, "it opens a transaction that writes, or is not plain"
		return s
	}
	return control(s)
}

// shown reads SHOW: one setting, or in MySQL a listing.
func shown(d Dialect, s Statement, t []token) Statement {
	plain := true
	for _, w := range t[1:] {
		plain = plain && (w.kind != op || w.text == "=") && !w.is("(") && !w.is("into")
	}
	if d == Postgres && len(t) > 5 || !plain {
		return unknown(s.Verb, "what it shows is not plain")
	}
	s.Effect, s.Writes, s.Known = action.EffectRead, action.No, true
	for i, w := range t[:len(t)-1] {
		if w.is("from") || w.is("in") {
			if name, _ := qualified(t, i+1); name != "" {
				s.Tables = append(s.Tables, name)
			}
		}
	}
	return s
}

func set(words string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(words) {
		m[w] = true
	}
	return m
}

// deallocate lets go of a prepared statement, which changes no data.
func deallocate(s Statement, t []token) Statement {
	if len(t) == 3 && t[1].is("prepare") {
		t = t[1:]
	}
	if len(t) != 2 || t[1].kind != word && t[1].kind != quoted {
		return unknown(s.Verb, "what it lets go of is not plain")
	}
	if s.Name = t[1].text; t[1].is("all") {
		s.Name = "ALL"
	}
	return control(s)
}
