# Who may act for whom, and what they tell each other.
package sallyport.multiagent

import rego.v2

allow contains {"id": "start", "code": "starts-agent", "reason": "Starts an agent whose own calls pass these gates."} if {
	input.phase == "before"
	input.action.effect == "execute"
	starts
	reviewed
	names_nothing
	known_chain
	clean
	calm
}

allow contains {"id": "message", "code": "agent-message", "reason": "A message to listed agents that carries nothing of strangers."} if {
	input.phase == "before"
	to_agents
	reviewed
	names_nothing
	known_chain
	clean
	calm
	unburdened
	ungraved
	count(input.context.detect.secrets) == 0
}

ungraved if not delegated

ungraved if data.params.delegated_grave

allow contains {"id": "release", "code": "release", "reason": "The result may go back to the agent."} if {
	input.phase == "after"
	input.context.result.kind != "none"
	of_agents
}

of_agents if starts

of_agents if to_some_agent

# METADATA
# custom: {owasp: [ASI01, ASI07], atlas: [AML.T0051, AML.T0053]}
ask contains {
	"id": "start.tainted", "code": "starts-agent-tainted", "severity": "high",
	"reason": "Starts an agent after text that strangers may have written was read, or with a task that reads like an attack.",
	"hint": "This session has read text of strangers, so a person has to approve a new agent. Do the work yourself, or wait.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	starts
	not clean_start
}

clean_start if {
	clean
	calm
}

# METADATA
# custom: {owasp: [ASI07, ASI08], atlas: [AML.T0051]}
ask contains {
	"id": "message.tainted", "code": "agent-message-tainted", "severity": "high",
	"reason": "A message to an agent may carry instructions of strangers.",
	"hint": "This would be read by another agent, so a person has to approve it.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	to_some_agent
	not clean_start
}

# METADATA
# custom: {owasp: [ASI07], atlas: [AML.T0057, AML.T0086]}
ask contains {
	"id": "message.burdened", "code": "agent-message-confidential", "severity": "high",
	"reason": "A message to an agent from a session that holds confidential data, or nobody knows.",
	"hint": "This session may have seen confidential data, so a person has to approve what it tells another agent.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	to_some_agent
	not unburdened
}

# METADATA
# custom: {owasp: [ASI03, ASI08], atlas: [AML.T0053]}
ask contains {
	"id": "grave", "code": "delegated-grave", "severity": "high",
	"reason": "An agent that acts for another spends, destroys, administers or sends.",
	"hint": "You act for another agent, so a person has to approve this.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	delegated
	grave
	not data.params.delegated_grave
}

# METADATA
# custom: {owasp: [ASI03], atlas: [AML.T0053]}
ask contains {
	"id": "grave.nobody", "code": "delegated-unverified", "severity": "high",
	"reason": "A chain of agents does something grave for nobody who was verified.",
	"hint": "It is not certain for whom you act, so a person has to approve this.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	delegated
	grave
	input.subject.user.verified != "yes"
}

# METADATA
# custom: {owasp: [ASI08], atlas: [AML.T0053]}
deny contains {
	"id": "depth", "code": "chain-too-long", "severity": "high",
	"reason": "More agents stand between the user and this one than the parameters allow.",
	"hint": "The chain of agents is too long. Hand the work back instead of handing it on.",
} if {
	input.phase == "before"
	count(input.subject.delegation) > data.params.delegation_depth
}

# METADATA
# custom: {owasp: [ASI03, ASI10], atlas: [AML.T0053, AML.T0073]}
deny contains {
	"id": "stranger", "code": "chain-unknown", "severity": "high",
	"reason": "An agent that is not listed stands in the chain.",
	"hint": "Not every agent that you act for is known here.",
} if {
	input.phase == "before"
	some d in input.subject.delegation
	not d.id in data.params.agents
}

# METADATA
# custom: {owasp: [ASI08], atlas: [AML.T0053]}
deny contains {
	"id": "loop", "code": "chain-loops", "severity": "high",
	"reason": "An agent stands twice in the chain.",
	"hint": "You act for yourself. Hand the work back instead of handing it on.",
} if {
	input.phase == "before"
	loops
}

# METADATA
# custom: {owasp: [ASI03], atlas: [AML.T0053]}
deny contains {
	"id": "widened", "code": "chain-widens", "severity": "critical", "always": true,
	"reason": "The agent holds a right that one before it in the chain does not have.",
	"hint": "You cannot do more than the agent that you act for.",
} if {
	input.phase == "before"
	widened
}

# METADATA
# custom: {owasp: [ASI03, ASI09], atlas: [AML.T0053]}
deny contains {
	"id": "powers", "code": "chain-powers", "severity": "critical", "always": true,
	"reason": "A right over approvals, tokens or policy was handed on to an agent.",
	"hint": "These rights cannot be handed on.",
} if {
	input.phase == "before"
	delegated
	some s in input.subject.scopes
	s in {"approver", "admin", "author", "policy-approver", "tool-admin"}
}

# What another agent answers is no more to be trusted than what it has read.
# METADATA
# custom: {owasp: [ASI06, ASI07], atlas: [AML.T0051, AML.T0080]}
oblige contains {"id": "label-untrusted", "type": "label", "params": {"untrusted": "yes"}} if {
	input.phase == "after"
	to_some_agent
}
