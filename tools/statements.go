// SPDX-License-Identifier: Apache-2.0

package tools

import (
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/tools/sql"
)

// sqlWords are names of databases and of their language, with whose rules their statements are read.
var sqlWords = map[string]sql.Dialect{
	"postgres": sql.Postgres, "postgresql": sql.Postgres, "psql": sql.Postgres, "pg": sql.Postgres,
	"mysql": sql.MySQL, "mariadb": sql.MySQL,
	"sql": sql.Generic, "sqlite": sql.Generic, "sqlite3": sql.Generic, "mssql": sql.Generic, "duckdb": sql.Generic, "bigquery": sql.Generic,
	"snowflake": sql.Generic, "redshift": sql.Generic, "clickhouse": sql.Generic, "cockroachdb": sql.Generic, "database": sql.Generic,
}

// statementNames are arguments that hold a statement where the tool is one of a database.
var statementNames = set(`sql query queries statement statements`)

// dialectOf tells whether a tool is one of a database, by its server's name, its own, and the first sentence of
// its description; "" if none of them says so. Two that disagree leave what means the same to all.
func dialectOf(server string, d *Definition) sql.Dialect {
	var found sql.Dialect
	for _, s := range []string{server, d.Name, firstSentence(d.Description)} {
		for _, w := range words(s) {
			switch is := sqlWords[w]; {
			case is == "" || is == found:
			case found == "" || found == sql.Generic:
				found = is
			case is != sql.Generic:
				return sql.Generic
			}
		}
	}
	return found
}

// sql reads the statements of an argument. One that is not understood leaves the arguments so too.
func (c *call) sql(pointer, s string) {
	d := c.plan.dialect
	if d == "" {
		d = sql.Generic
	}
	all, ok := sql.Read(d, s)
	c.typed = c.typed && ok
	if c.sqlWorst == "" {
		c.sqlWorst = action.EffectRead
	}
	for _, x := range all {
		f := action.SQL{Pointer: pointer, Dialect: string(d), Verb: x.Verb, Tables: x.Tables, Writes: x.Writes, Parsed: action.StateUnknown}
		if x.Verb == "" {
			f.Verb = "unknown"
		}
		if x.Known || x.Effect != action.EffectUnknown {
			f.Parsed = action.StateKnown
		} else {
			c.typed = false
		}
		if x.Effect.Severity() > c.sqlWorst.Severity() {
			c.sqlWorst = x.Effect
		}
		if len(c.facts.SQL) < maxFacts {
			c.facts.SQL = append(c.facts.SQL, f)
		} else {
			c.over[5] = true
		}
	}
}

// statements lets what the statements do take the place of "executes something", where they are all that the call
// executes. Beside anything else they only make the effect graver.
func (c *call) statements() {
	f := c.facts
	if c.sqlWorst == "" {
		return
	}
	only := f.Effect == action.EffectExecute && c.typed && len(f.Commands) == 0
	if !only && c.sqlWorst.Severity() <= f.Effect.Severity() {
		return
	}
	f.Effect = c.sqlWorst
	switch f.Effect {
	case action.EffectRead:
		f.Reversible = action.Yes
	case action.EffectDestroy:
		f.Reversible = action.No
	default:
		f.Reversible = action.TriUnknown
	}
}
