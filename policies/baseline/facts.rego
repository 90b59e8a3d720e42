# What the rules are made of. A fact that is unknown never counts as the good case: each of these names
# is true only if the facts say so.
package sallyport.baseline

import rego.v2

grave := {"send", "spend", "destroy", "admin"}

usual := {"read", "respond", "write", "execute"}

known_effect if input.action.effect in usual

known_effect if input.action.effect in grave

typed if input.action.typed == "known"

# Somebody has approved this very definition, and said what it does.
reviewed_tool if {
	input.resource.definition.state == "approved"
	input.action.effect_source in {"declared", "approved"}
}

# The effect is no guess from a name that the server chose: the definition was reviewed, or the protocol
# itself says that getting a prompt or a resource reads.
vouched if reviewed_tool

vouched if {
	input.resource.type in {"prompt", "resource"}
	input.action.effect == "read"
}

guessed if {
	input.action.effect in {"read", "write", "execute"}
	not vouched
}

# A listed tool that nobody reviewed counts as one outside: by its name and description it reads, these
# carry no instructions, and what it is told is harmless.
harmless_guess if {
	input.action.effect == "read"
	input.action.effect_source == "inferred"
	input.resource.definition.state == "pending"
	input.resource.definition.poisoned == "no"
	scanned
	unburdened
}

# Paths.

inside(p) if {
	p.inside == "yes"
	p.resolved != ""
}

inside(p) if {
	some root in data.params.roots
	startswith(concat("", [p.resolved, "/"]), concat("", [root, "/"]))
}

outside(p) if {
	p.inside == "no"
	not inside(p)
}

plain(p) if {
	p.traversal == "no"
	p.private == "no"
}

all_paths_inside if every p in input.action.paths {
	inside(p)
	plain(p)
}

all_paths_read if every p in input.action.paths { p.access == "read" }

no_path_destroyed if every p in input.action.paths { p.access in {"read", "write"} }

some_path_outside if {
	some p in input.action.paths
	outside(p)
}

# Neither inside nor known to be outside, or not known to be plain. What is known to be bad is denied.
some_path_unsure if {
	some p in input.action.paths
	not inside(p)
	not outside(p)
}

some_path_unsure if {
	some p in input.action.paths
	not p.traversal in {"yes", "no"}
}

some_path_unsure if {
	some p in input.action.paths
	not p.private in {"yes", "no"}
}

# Hosts, recipients, statements.

listed_host(u) if u.host in data.params.hosts

all_hosts_listed if every u in input.action.urls { listed_host(u) }

some_host_unlisted if {
	some u in input.action.urls
	not listed_host(u)
}

all_recipients_listed if {
	count(input.action.recipients) > 0
	every r in input.action.recipients { r.value in data.params.recipients }
}

only_reads_sql if every s in input.action.sql {
	s.writes == "no"
	s.parsed == "known"
}

# Commands.

listed_command(c) if c.reviewed == "yes"

listed_command(c) if {
	named(c)
	alone(c)
}

named(c) if c.name in data.params.commands

named(c) if concat(" ", [c.name, c.verb]) in data.params.commands

# A name says little of what runs: "./just" and "PATH=. just" have the name of just. It counts only if it
# is the one command of the call and the very first word of its text.
alone(c) if {
	count(input.action.commands) == 1
	startswith(concat("", [told(c), " "]), concat("", [c.name, " "]))
}

# lint: may-not-fire: without the words nothing is listed, so that neither a permission nor write.irreversible holds, and "other" asks
told(c) := words if {
	words := input.action.arguments[trim_prefix(c.pointer, "/")]
	is_string(words)
}

# lint: may-not-fire: without the words nothing is listed, so that neither a permission nor write.irreversible holds, and "other" asks
told(c) := concat(" ", words) if {
	words := input.action.arguments[trim_prefix(c.pointer, "/")]
	is_array(words)
}

written_inside(w) if {
	some p in input.action.paths
	p.raw == w
	inside(p)
	plain(p)
}

runs(c) if {
	c.name != ""
	c.dynamic == "no"
	c.self == "no"
	listed_command(c)
	every w in c.writes { written_inside(w) }
}

all_commands_run if every c in input.action.commands { runs(c) }

# What leaves, and what would leave with it.

inside_zone if input.resource.zone == "inside"

leaves if not known_effect

leaves if input.action.effect in {"send", "spend"}

leaves if not inside_zone

leaves if guessed

leaves if {
	some u in input.action.urls
	u.private != "yes"
}

leaves if {
	some r in input.action.recipients
	r.outside != "no"
}

scanned if {
	input.context.detect.state == "known"
	input.context.detect.opaque == "no"
	input.context.detect.truncated == "no"
	count(input.context.detect.secrets) == 0
	input.context.detect.leak_milli < 500
}

# The session is known to hold nothing confidential.
unburdened if {
	input.context.flow.state == "known"
	input.context.flow.session.secrecy in {"public", "internal"}
}
