// SPDX-License-Identifier: Apache-2.0

// Package sql states what the statements of an SQL text do: which verb, which tables, which functions, and
// whether they may change anything.
//
// It is a recogniser, not a parser: it proves "reads only" for a subset that it understands word by word, and
// says unknown, which counts as the worst, for everything else. A function that is not on the list of those
// known to be pure counts as one that writes.
//
// # What it cannot see
//
// What the schema's owner built in: a view, a rule, a cast, an operator, a column that is a function, a policy
// of rows may run code of his. Who relies on "reads only" runs the statement in a read-only transaction too, as
// gateway/postgres does.
package sql

import (
	"slices"
	"strings"

	"github.com/sallyport/sallyport/action"
)

// Dialect is whose rules a text is split and read by.
type Dialect string

// The dialects. Generic reads only what means the same to all of them, SQLite and SQL Server included.
const (
	Generic  Dialect = "unknown"
	Postgres Dialect = "postgres"
	MySQL    Dialect = "mysql"
)

// The bounds of one text; beyond them it is not read.
const (
	MaxBytes      = 256 << 10
	MaxStatements = 64
	maxTokens     = 32 << 10
	maxNames      = 256
	maxDepth      = 200
)

// Statement is what is known of one statement.
type Statement struct {
	Verb      string        // first word, in upper case; "" if there is none
	Effect    action.Effect // read, write, destroy, execute or admin; unknown if the statement was not understood
	Writes    action.Tri    // no only if everything in it was understood and changes nothing
	Tables    []string      // read and written, "schema.name" as written, sorted; all of them where Known
	Functions []string      // called, sorted
	Known     bool          // every word was understood: Tables is complete and Writes is yes or no
	Name      string        // of the prepared statement that DEALLOCATE lets go of; "ALL" for all
	Control   bool          // steers a transaction or a harmless setting, touches no data
	Why       string        // what was not understood, or what makes it more than a read; "" for a plain read
}

// Read states the facts of the statements in s, in order. ok is false if s cannot be split into statements for
// certain; then there is one Statement of which nothing is known.
func Read(d Dialect, s string) (out []Statement, ok bool) {
	tokens, why := lex(d, s)
	if why != "" {
		return []Statement{unknown("", why)}, false
	}
	for len(tokens) > 0 {
		n := slices.IndexFunc(tokens, func(t token) bool { return t.is(";") })
		if n < 0 {
			n = len(tokens)
		}
		if n > 0 {
			if len(out) == MaxStatements {
				return []Statement{unknown("", "too many statements")}, false
			}
			out = append(out, statement(d, tokens[:n]))
		}
		tokens = tokens[min(n+1, len(tokens)):]
	}
	return out, true
}

// Worst returns the gravest effect among the statements: unknown if any of them is; read for none.
func Worst(all []Statement) action.Effect {
	e := action.EffectRead
	for _, s := range all {
		if s.Effect.Severity() > e.Severity() {
			e = s.Effect
		}
	}
	return e
}

func unknown(verb, why string) Statement {
	return Statement{Verb: verb, Effect: action.EffectUnknown, Writes: action.TriUnknown, Why: why}
}

// verbs that change something, whatever follows.
var changing = map[string]action.Effect{
	"insert": action.EffectWrite, "update": action.EffectWrite, "merge": action.EffectWrite, "replace": action.EffectWrite,
	"upsert": action.EffectWrite, "import": action.EffectWrite, "load": action.EffectWrite, "refresh": action.EffectWrite,
	"comment": action.EffectWrite, "create": action.EffectWrite, "notify": action.EffectWrite, "lock": action.EffectWrite,
	"delete": action.EffectDestroy, "truncate": action.EffectDestroy, "drop": action.EffectDestroy,
	"do": action.EffectExecute, "call": action.EffectExecute, "exec": action.EffectExecute,
	"grant": action.EffectAdmin, "revoke": action.EffectAdmin, "alter": action.EffectAdmin, "vacuum": action.EffectAdmin,
	"analyze": action.EffectAdmin, "reindex": action.EffectAdmin, "cluster": action.EffectAdmin, "checkpoint": action.EffectAdmin,
	"reassign": action.EffectAdmin, "security": action.EffectAdmin, "kill": action.EffectAdmin, "flush": action.EffectAdmin,
}

// statement reads one statement; t is not empty.
func statement(d Dialect, t []token) Statement {
	first := t[0]
	if first.kind != word && !first.is("(") {
		return unknown("", "it begins with no word")
	}
	verb := first.text
	if verb == "(" {
		verb = "select"
	}
	s := Statement{Verb: strings.ToUpper(verb)}
	switch verb {
	case "select", "with", "values", "table":
		return query(d, s, t)
	case "explain", "describe", "desc":
		return explain(d, s, t)
	case "copy":
		return copied(d, s, t)
	case "prepare", "declare":
		return named(d, s, t)
	case "set":
		return setting(d, s, t)
	case "show":
		return shown(d, s, t)
	case "deallocate":
		return deallocate(s, t)
	case "begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release":
		return transaction(s, t)
	}
	if e, ok := changing[verb]; ok {
		s.Effect, s.Writes, s.Why = e, action.Yes, "it is a "+s.Verb
		s.Tables = target(d, t)
		return s
	}
	return unknown(s.Verb, "its verb is not known")
}

// target is the table after the verb of a change, as far as it is plain to see.
func target(d Dialect, t []token) []string {
	i := 1
	for i < len(t) && t[i].kind == word && slices.Contains([]string{"into", "from", "only", "table", "if", "exists", "ignore", "index", "view"}, t[i].text) {
		i++
	}
	if name, _ := qualified(t, i); name != "" {
		return []string{name}
	}
	return nil
}

// qualified reads "a.b.c" at i and returns it with the index behind it; "" if there is no name.
func qualified(t []token, i int) (string, int) {
	var parts []string
	for i < len(t) && (t[i].kind == word || t[i].kind == quoted) {
		parts = append(parts, t[i].text)
		if i++; i >= len(t) || !t[i].is(".") {
			break
		}
		i++
	}
	return strings.Join(parts, "."), i
}
