# What the rules are made of. A fact that is unknown never counts as the good case.
package sallyport.sql

import rego.v2

# The tools of our own door, on a database that the owner's configuration names, and of two known MCP servers.
database if {
	input.resource.type == "tool"
	input.resource.definition.state == "approved"
	input.resource.definition.pack in {"postgres", "postgres-read-only", "server-postgres", "mcp-server-sqlite"}
	input.action.effect_source == "declared"
}

server := input.resource.server

# What this pack speaks about: a database of ours, and any other tool that is given SQL.
statement if database

statement if count(input.action.sql) > 0

# Every word of every statement was understood, and none changes anything.
only_reads if {
	input.action.effect == "read"
	input.action.typed == "known"
	every s in input.action.sql {
		s.parsed == "known"
		s.writes == "no"
	}
}

row_verbs := {"INSERT", "UPDATE", "DELETE", "MERGE", "WITH", "SELECT", "VALUES", "TABLE", "EXPLAIN", "COPY", "PREPARE", "BEGIN",
	"COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "START", "END", "ABORT", "SET", "SHOW", "DEALLOCATE", "DECLARE"}

# Rows change, and nothing else: no schema, right, setting, code or file of the server.
only_rows if {
	input.action.effect in {"read", "write", "destroy"}
	input.action.typed == "known"
	count(input.action.sql) > 0
	every s in input.action.sql {
		s.parsed == "known"
		s.verb in row_verbs
	}
}

readable if server in data.params.databases_read

readable if writable

writable if server in data.params.databases_write

changeable if writable

changeable if asks

asks if server in data.params.databases_ask

names_hidden if {
	some s in input.action.sql
	some t in s.tables
	some h in data.params.tables_hidden
	covers(h, t)
}

covers(h, t) if h == t

covers(h, t) if endswith(t, concat("", [".", h]))

covers(h, t) if endswith(h, concat("", [".", t]))
