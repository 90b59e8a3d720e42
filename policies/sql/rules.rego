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

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0053]}
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

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0053, AML.T0101]}
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

# METADATA
# custom: {owasp: [ASI03], atlas: [AML.T0085]}
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

# METADATA
# custom: {owasp: [ASI02, ASI05], atlas: [AML.T0053, AML.T0101]}
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

# METADATA
# custom: {owasp: [ASI03], atlas: [AML.T0085]}
deny contains {
	"id": "table.hidden", "code": "hidden-table", "severity": "high", "always": true,
	"reason": "{tool}: a statement names a table that is out of bounds.",
	"hint": "One of these tables is out of bounds.",
} if {
	input.phase == "before"
	names_hidden
}

# METADATA
# custom: {owasp: [ASI04], atlas: [AML.T0110]}
deny contains {
	"id": "definition.changed", "code": "definition-changed", "severity": "high",
	"reason": "The definition of {tool} is not the one that was pinned.",
	"hint": "This tool has changed since it was reviewed.",
} if {
	input.phase == "before"
	input.resource.definition.state == "changed"
}

# METADATA
# custom: {owasp: [ASI02, ASI03], atlas: [AML.T0055, AML.T0086]}
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

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0086]}
deny contains {
	"id": "unscanned", "code": "not-scanned", "severity": "high",
	"reason": "The statement was not scanned for secrets, and the database is outside.",
} if {
	input.phase == "before"
	statement
	input.resource.zone != "inside"
	input.context.detect.state != "known"
}

# METADATA
# custom: {owasp: [ASI01, ASI02], atlas: [AML.T0086]}
quarantine contains {
	"id": "canary", "code": "canary", "severity": "critical", "always": true,
	"reason": "A statement holds a planted canary.",
} if {
	input.phase == "before"
	input.context.detect.canary == "yes"
}

# METADATA
# custom: {owasp: [ASI03], atlas: [AML.T0055]}
oblige contains {"id": "redact-secrets", "type": "redact", "params": {"kind": "secret"}} if {
	input.phase == "after"
	database
	count(input.context.detect.secrets) > 0
}

# Rows are what many people wrote.
# METADATA
# custom: {owasp: [ASI01, ASI06], atlas: [AML.T0051]}
oblige contains {"id": "label-untrusted", "type": "label", "params": {"untrusted": "yes"}} if {
	input.phase == "after"
	database
}
