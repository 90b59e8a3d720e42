# What a person has to agree to. Only a write inside the workspace may be agreed to in the agent's own
# client; everything graver needs an operator, whom the agent cannot imitate.
package sallyport.baseline

import rego.v2

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0101]}
ask contains {
	"id": "effect.destroy", "code": "destroys", "severity": "high",
	"reason": "{tool} deletes or destroys something.",
	"hint": "Deleting needs a person's approval. Go on with other work meanwhile, or leave the data in place.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	destroys
	not traced
}

destroys if input.action.effect == "destroy"

destroys if {
	some p in input.action.paths
	p.access == "destroy"
}

# METADATA
# custom: {owasp: [ASI01, ASI02], atlas: [AML.T0086]}
ask contains {
	"id": "effect.send", "code": "sends", "severity": "high",
	"reason": "{tool} sends something out of the organisation.",
	"hint": "Sending needs a person's approval.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	input.action.effect == "send"
	not sends_safely
	not sends_again
	not traced
}

# METADATA
# custom: {owasp: [ASI02, ASI09], atlas: [AML.T0048, AML.T0053]}
ask contains {
	"id": "effect.spend", "code": "spends", "severity": "high",
	"reason": "{tool} spends money.",
	"hint": "Spending needs a person's approval.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	input.action.effect == "spend"
	not traced
}

# METADATA
# custom: {owasp: [ASI03], atlas: [AML.T0053, AML.T0081]}
ask contains {
	"id": "effect.admin", "code": "administers", "severity": "high",
	"reason": "{tool} changes rights, accounts or settings.",
	"hint": "Changing rights or settings needs a person's approval.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	input.action.effect == "admin"
	not traced
}

# METADATA
# custom: {owasp: [ASI10], atlas: [AML.T0053]}
ask contains {
	"id": "unusual", "code": "unusual", "severity": "high",
	"reason": "This is unusual for the agent, and changes something.",
	"hint": "This is not what you usually do, so a person has to agree to it.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	unusual
}

# A profile that is still learning says nothing. 700 are some ten bits of surprise, added up with a half-life
# of a quarter of an hour.
unusual if {
	input.context.monitor.state == "known"
	input.context.monitor.risk_milli >= 700
	not input.action.effect in {"read", "respond"}
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0053]}
ask contains {
	"id": "effect.unknown", "code": "effect-unknown", "severity": "medium",
	"reason": "Nobody has said what {tool} does.",
	"hint": "This tool has not been reviewed yet, so a person has to approve the call.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	not known_effect
}

# METADATA
# custom: {owasp: [ASI04], atlas: [AML.T0010, AML.T0110]}
ask contains {
	"id": "tool.unreviewed", "code": "tool-unreviewed", "severity": "medium",
	"reason": "Nobody has reviewed {tool}: what it does is a guess from its name and description.",
	"hint": "This tool has not been reviewed yet, so a person has to approve the call.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	guessed
	not harmless_guess
	not traced
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0085]}
ask contains {
	"id": "read.outside", "code": "reads-outside", "severity": "medium",
	"reason": "Reads a file outside {root}.",
	"hint": "Reading outside {root} needs a person's approval. Inside it you can read freely.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	some p in input.action.paths
	p.access == "read"
	outside(p)
	not placeless
}

# METADATA
# custom: {owasp: [ASI01, ASI02], atlas: [AML.T0051, AML.T0086]}
ask contains {
	"id": "read.host", "code": "reads-host", "severity": "medium",
	"reason": "Reaches a host that is not on the list.",
	"hint": "Reaching this host needs a person's approval.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	input.action.effect in {"read", "execute"}
	some_host_unlisted
	not traced
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0053]}
ask contains {
	"id": "path.unsure", "code": "path-unsure", "severity": "medium",
	"reason": "It is not clear which file a path means.",
	"hint": "Use a plain absolute path inside {root}.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	some_path_unsure
	not placeless
}

# Inside the workspace, too, some files decide what runs later or who watches: hooks, the settings of the
# agent's host and of editors. An agent that may write them can step out of its gates.
# METADATA
# custom: {owasp: [ASI05, ASI10], atlas: [AML.T0081]}
ask contains {
	"id": "write.control", "code": "writes-control-file", "severity": "high",
	"reason": "Writes a file that decides what runs later, or whether the agent is watched.",
	"hint": "This file decides how programs or agents run, so a person has to approve the change. Other files inside {root} can be edited freely.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	controls
}

controls if {
	some p in input.action.paths
	p.access != "read"
	regex.match(control_files, lower(p.resolved))
}

control_files := `/\.(git|hg|husky|claude|codex|gemini|cursor|vscode|idea|devcontainer)(/|$)|/\.(mcp\.json|envrc|gitmodules|gitattributes|pre-commit-config\.yaml|npmrc|yarnrc|yarnrc\.yml|bazelrc)$|/\.(bash|zsh|profile)[a-z_]*$`

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0101]}
ask contains {
	"id": "write.irreversible", "code": "write-irreversible", "severity": "low",
	"reason": "A write inside the workspace that may not be undone.",
	"hint": "This write may not be undone, so a person has to approve it.",
	"approver": {"channel": "client"},
} if {
	input.phase == "before"
	irreversible
}

irreversible if {
	writes_inside
	input.action.reversible != "yes"
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0053]}
ask contains {
	"id": "write.elsewhere", "code": "write-elsewhere", "severity": "medium",
	"reason": "{tool} changes something that is no file in the workspace.",
	"hint": "Changing something other than files inside {root} needs a person's approval.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	writes_elsewhere
	not traced
}

writes_elsewhere if {
	input.action.effect == "write"
	count(input.action.paths) == 0
	not writes_own_state
}

writes_elsewhere if {
	input.action.effect == "write"
	count(input.action.urls) + count(input.action.recipients) + count(input.action.sql) > 0
}

# METADATA
# custom: {owasp: [ASI05], atlas: [AML.T0050]}
ask contains {
	"id": "run.unreviewed", "code": "command-unreviewed", "severity": "medium",
	"reason": "Runs a command that is not on the reviewed list.",
	"hint": "This command needs a person's approval. Commands that build, test or show the state run freely, one by one and without substitutions.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	unreviewed
}

# METADATA
# custom: {owasp: [ASI05, ASI01], atlas: [AML.T0050, AML.T0051]}
ask contains {
	"id": "run.strangers", "code": "strangers-command", "severity": "high",
	"reason": "Runs a file that text of strangers was put into.",
	"hint": "A person has to look at the file first: parts of it come from outside. Go on with other work meanwhile.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	input.action.effect == "execute"
	some v in input.context.flow.arguments
	v.grade == "tainted"
	not content(v)
}

unreviewed if {
	input.action.effect == "execute"
	count(input.action.commands) == 0
	not starts_agent
}

unreviewed if {
	some c in input.action.commands
	not runs(c)
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0053]}
ask contains {
	"id": "untyped", "code": "arguments-not-understood", "severity": "medium",
	"reason": "Not every argument of {tool} was understood.",
	"hint": "A person has to approve this call, because not all of its arguments are understood.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	untyped
	not traced
}

untyped if {
	input.action.effect in {"read", "write", "execute"}
	not typed
}

# METADATA
# custom: {owasp: [ASI04, ASI02], atlas: [AML.T0086]}
ask contains {
	"id": "server.outside", "code": "server-outside", "severity": "medium",
	"reason": "What {tool} is told reaches the outside, and may be confidential.",
	"hint": "What is told here reaches the outside, so a person has to approve it.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	told_outside
	not traced
}

told_outside if {
	input.action.effect == "read"
	not heard
}

told_outside if {
	input.action.effect in {"write", "execute"}
	not inside_zone
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0101]}
ask contains {
	"id": "sql.changes", "code": "statement-changes", "severity": "medium",
	"reason": "A statement changes data, or was not understood.",
	"hint": "Statements that only read run freely; this one needs a person's approval.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	statement_changes
}

statement_changes if {
	some s in input.action.sql
	s.writes != "no"
}

statement_changes if {
	some s in input.action.sql
	s.parsed != "known"
}

# A finding in a description is a classifier's, and honest descriptions are sometimes bossy: a deny would
# leave no way on but a change of policy. An operator, unlike the agent's own client, is not shown the
# call through the poisoned text, and approving the definition's digest settles it. A listed definition
# that nobody scanned counts as poisoned.
# METADATA
# custom: {owasp: [ASI04, ASI01], atlas: [AML.T0110, AML.T0051]}
ask contains {
	"id": "definition.poisoned", "code": "definition-poisoned", "severity": "high",
	"reason": "The description of {tool} may carry instructions to the agent, and nobody has approved it.",
	"hint": "This tool's description has to be reviewed by a person first.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	input.resource.definition.state == "pending"
	input.resource.definition.poisoned != "no"
}

# METADATA
# custom: {owasp: [ASI01, ASI02], atlas: [AML.T0057, AML.T0086]}
ask contains {
	"id": "flow.confidential", "code": "confidential-outside", "severity": "high",
	"reason": "The session holds confidential data, and this reaches the outside.",
	"hint": "This session has seen confidential data, so a person has to approve what leaves it.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	leaves
	confidential
	not traced
}

confidential if input.context.flow.session.secrecy == "confidential"

confidential if {
	some v in input.context.flow.arguments
	v.secrecy == "confidential"
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0053]}
ask contains {
	"id": "other", "code": "not-covered", "severity": "medium",
	"reason": "No rule lets {tool} pass by itself.",
	"hint": "A person has to approve this call.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	input.action.effect in usual
	not safe
	not explained
}

explained if guessed

explained if destroys

explained if controls

explained if irreversible

explained if writes_elsewhere

explained if unreviewed

explained if untyped

explained if told_outside

explained if statement_changes

explained if some_path_outside

explained if some_path_unsure

explained if {
	input.action.effect in {"read", "execute"}
	some_host_unlisted
}
