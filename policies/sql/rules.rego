# Read here, write there, and nothing else.
package sallyport.sql

import rego.v2

allow contains {"id": "read", "code": "reads", "reason": "Every statement was understood and only reads."} if {
	input.phase == "before"
	database
	readable
	only_reads
}

allow contains {"id": "write", "code": "writes", "reason": "Changes rows of a database that is listed for it."} if {
	input.phase == "before"
	database
	writable
	only_rows
}

allow contains {"id": "release", "code": "release", "reason": "The result may go back to the agent."} if {
	input.phase == "after"
	database
	input.context.result.kind != "none"
}

ask contains {
	"id": "write.ask", "code": "writes-asked", "severity": "high",
	"reason": "Changes rows of a database where changes need a person.",
	"hint": "Changing this database needs a person's approval. Reading it does not.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	database
	asks
	only_rows
	not only_reads
	not writable
}

allow contains {"id": "write.asked", "code": "writes-asked", "reason": "A person agreed to the change."} if {
	input.phase == "before"
	database
	asks
	only_rows
}

deny contains {
	"id": "write.never", "code": "writes", "severity": "high", "always": true,
	"reason": "{tool}: a statement may change something here, or was not understood, and nothing may be changed here.",
	"hint": "This database can only be read: plain SELECT statements with built-in functions, one or many.",
} if {
	input.phase == "before"
	statement
	not only_reads
	not changeable
}

deny contains {
	"id": "database.unlisted", "code": "database-unlisted", "severity": "medium",
	"reason": "{server} stands on no list of databases.",
	"hint": "This database is not open to you.",
} if {
	input.phase == "before"
	database
	not readable
	not asks
}

deny contains {
	"id": "more.than.rows", "code": "more-than-rows", "severity": "high", "always": true,
	"reason": "{tool}: a statement does more than change rows, or was not understood.",
	"hint": "Only rows can be changed here: no schema, no rights, no settings, no code. Use plain SELECT, INSERT, UPDATE and DELETE.",
} if {
	input.phase == "before"
	changeable
	not only_rows
	not only_reads
}

deny contains {
	"id": "table.hidden", "code": "hidden-table", "severity": "high", "always": true,
	"reason": "{tool}: a statement names a table that is out of bounds.",
	"hint": "One of these tables is out of bounds.",
} if {
	input.phase == "before"
	names_hidden
}

deny contains {
	"id": "definition.changed", "code": "definition-changed", "severity": "high",
	"reason": "The definition of {tool} is not the one that was pinned.",
	"hint": "This tool has changed since it was reviewed.",
} if {
	input.phase == "before"
	input.resource.definition.state == "changed"
}

deny contains {
	"id": "secret.outside", "code": "secret-outside", "severity": "critical", "always": true,
	"reason": "A statement or a parameter holds a secret, and the database is outside.",
	"hint": "The statement holds a credential. Remove it; it must not leave.",
} if {
	input.phase == "before"
	statement
	input.resource.zone != "inside"
	count(input.context.detect.secrets) > 0
}

deny contains {
	"id": "unscanned", "code": "not-scanned", "severity": "high",
	"reason": "The statement was not scanned for secrets, and the database is outside.",
} if {
	input.phase == "before"
	statement
	input.resource.zone != "inside"
	input.context.detect.state != "known"
}

quarantine contains {
	"id": "canary", "code": "canary", "severity": "critical", "always": true,
	"reason": "A statement holds a planted canary.",
} if {
	input.phase == "before"
	input.context.detect.canary == "yes"
}

oblige contains {"id": "redact-secrets", "type": "redact", "params": {"kind": "secret"}} if {
	input.phase == "after"
	database
	count(input.context.detect.secrets) > 0
}

# Rows are what many people wrote.
oblige contains {"id": "label-untrusted", "type": "label", "params": {"untrusted": "yes"}} if {
	input.phase == "after"
	database
}
