# What the rules are made of. A fact that is unknown never counts as the good case.
package sallyport.multiagent

import rego.v2

delegated if count(input.subject.delegation) > 0

grave if input.action.effect in {"spend", "destroy", "admin", "send", "unknown"}

starters := {"claude-code/Task", "claude-code/Agent"}

starts if {
	input.resource.id in starters
	input.resource.definition.pack == "claude-code"
}

reviewed if {
	input.action.typed == "known"
	input.resource.definition.state == "approved"
	input.action.effect_source in {"declared", "approved"}
}

names_nothing if {
	count(input.action.paths) == 0
	count(input.action.commands) == 0
	count(input.action.urls) == 0
	count(input.action.sql) == 0
	count(input.action.amounts) == 0
}

# The session has read nothing that strangers may have written.
clean if {
	input.context.flow.state == "known"
	input.context.flow.session.untrusted == "no"
	input.context.flow.session.opaque == "no"
}

calm if {
	input.context.detect.state == "known"
	input.context.detect.injection_milli < 500
	input.context.detect.opaque == "no"
	input.context.detect.truncated == "no"
}

unburdened if {
	input.context.flow.state == "known"
	input.context.flow.session.secrecy in {"public", "internal"}
}

# A message whose every recipient is an agent of the list.
to_agents if {
	input.action.effect == "send"
	count(input.action.recipients) > 0
	every r in input.action.recipients { r.value in data.params.agents }
}

to_some_agent if {
	input.action.effect == "send"
	some r in input.action.recipients
	r.value in data.params.agents
}

known_chain if {
	count(input.subject.delegation) <= data.params.delegation_depth
	every d in input.subject.delegation { d.id in data.params.agents }
	not loops
	not widened
}

loops if {
	some d in input.subject.delegation
	d.id == input.subject.id
}

loops if {
	some i, d in input.subject.delegation
	some j, e in input.subject.delegation
	i < j
	d.id == e.id
}

widened if {
	delegated
	some s in input.subject.scopes
	some d in input.subject.delegation
	not s in d.scopes
}
