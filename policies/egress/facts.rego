# What the rules are made of. A fact that is unknown never counts as the good case. The members of the
# arguments that are read here are written by the door; the agent names none of them.
package sallyport.egress

import rego.v2

through_proxy if {
	input.resource.type == "host"
	input.subject.channel.door == "egress"
	input.action.typed == "known"
	count(input.action.urls) == 1
}

listed if input.resource.definition.state == "approved"

inside if input.resource.zone == "inside"

# By its spelling the host is a public one. Where a name leads to the door checks when it dials.
public if every u in input.action.urls { u.private == "no" }

plain_words if {
	input.context.detect.state == "known"
	input.context.detect.truncated == "no"
	count(input.context.detect.secrets) == 0
	input.context.detect.leak_milli < 200
	every f in input.context.detect.findings { harmless(f) }
}

# Addresses of mail and of machines stand in ordinary requests; account numbers, wallets, pieces of tokens and
# host names that spell data do not.
harmless(f) if f.kind == "injection"

harmless(f) if {
	f.kind in {"pii", "trace", "leak"}
	f.score_milli < 200
}

readable if {
	input.action.arguments.opaque == false
	input.context.detect.opaque == "no"
}

without_credentials if input.action.arguments.credential == "none"

unburdened if {
	input.context.flow.state == "known"
	input.context.flow.session.secrecy in {"public", "internal"}
	every v in input.context.flow.arguments { v.secrecy in {"public", "internal"} }
}

changes_nothing if input.action.effect == "read"

sends if input.action.effect in {"send", "write"}

drop if {
	some u in input.action.urls
	u.host in data.params.hosts_drop
}

drop if {
	some u in input.action.urls
	some d in data.params.hosts_drop
	endswith(u.host, concat("", [".", d]))
}
