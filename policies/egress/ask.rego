# What a person has to agree to.
package sallyport.egress

import rego.v2

# METADATA
# custom: {owasp: [ASI03], atlas: [AML.T0055]}
ask contains {
	"id": "credential.supplied", "code": "credential-supplied", "severity": "high",
	"reason": "The request carries a credential of the agent's own.",
	"hint": "Send no credentials: the proxy adds them for hosts that it has one for. This request needs a person's approval.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	not without_credentials
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0057, AML.T0086]}
ask contains {
	"id": "data.leaks", "code": "leaks", "severity": "high",
	"reason": "What is sent to {tool} looks like data that should not leave.",
	"hint": "This looks like data that should not leave, so a person has to approve it.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	not inside
	not plain_words
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0086]}
ask contains {
	"id": "data.unreadable", "code": "unreadable", "severity": "medium",
	"reason": "What is sent cannot be read, and the host is not listed.",
	"hint": "This cannot be read on its way out, so a person has to approve it.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	not inside
	not listed
	not readable
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0057, AML.T0086]}
ask contains {
	"id": "data.confidential", "code": "confidential-outside", "severity": "high",
	"reason": "The session may hold confidential data, and this reaches the outside.",
	"hint": "This session may have seen confidential data, so a person has to approve what leaves it.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	not inside
	not unburdened
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0086]}
ask contains {
	"id": "host.drop", "code": "drop", "severity": "high",
	"reason": "The host is a place where anybody leaves data for anybody, and is not listed.",
	"hint": "Places where anybody leaves data need a person's approval.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	not listed
	drop
}

# A message to another agent that carries instructions to a model is an attack on it, whoever wrote it.
# METADATA
# custom: {owasp: [ASI01, ASI07], atlas: [AML.T0051]}
ask contains {
	"id": "instructions.sent", "code": "sends-instructions", "severity": "high",
	"reason": "What is sent to {tool} carries instructions to a model.",
	"hint": "This text would be taken for instructions where it is read, so a person has to approve it.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	not inside
	not changes_nothing
	input.context.detect.injection_milli >= 500
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0101]}
ask contains {
	"id": "destroys", "code": "destroys", "severity": "high",
	"reason": "{tool} deletes something.",
	"hint": "Deleting needs a person's approval.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	input.action.effect == "destroy"
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0053]}
ask contains {
	"id": "method.unknown", "code": "method-unknown", "severity": "medium",
	"reason": "Nobody has said what this method does.",
	"hint": "This method needs a person's approval.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	input.action.effect == "unknown"
}

# An unknown score is 1000. The person who is asked sees the response; the agent does not.
# METADATA
# custom: {owasp: [ASI01, ASI06], atlas: [AML.T0051]}
ask contains {
	"id": "result.instructions", "code": "carries-instructions", "severity": "high",
	"reason": "The response of {tool} carries instructions to the agent.",
	"hint": "The request was carried out. Its response may carry instructions of strangers and is held until a person has looked at it. Do not repeat it.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "after"
	not inside
	input.context.detect.injection_milli >= 500
}
