# What nobody can agree to in passing. "always" holds in observe mode too.
package sallyport.baseline

import rego.v2

# METADATA
# custom: {owasp: [ASI02, ASI05], atlas: [AML.T0053]}
deny contains {
	"id": "write.outside", "code": "writes-outside", "severity": "high",
	"reason": "Writes or deletes outside every root of the session.",
	"hint": "Write inside {root}; nothing outside it can be changed.",
} if {
	input.phase == "before"
	some p in input.action.paths
	p.access != "read"
	outside(p)
	not placeless
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0053]}
deny contains {
	"id": "path.traversal", "code": "traversal", "severity": "high",
	"reason": "A path climbs with dot-dot or leads out through a link.",
	"hint": "Use a plain absolute path inside {root}, without \"..\" and without links that lead out of it.",
} if {
	input.phase == "before"
	some p in input.action.paths
	p.traversal == "yes"
}

# METADATA
# custom: {owasp: [ASI03, ASI10], atlas: [AML.T0055, AML.T0081]}
deny contains {
	"id": "path.private", "code": "private-path", "severity": "critical", "always": true,
	"reason": "A path leads into our own data directory or a credential store.",
	"hint": "This place is out of bounds for agents.",
} if {
	input.phase == "before"
	some p in input.action.paths
	p.private == "yes"
}

# METADATA
# custom: {owasp: [ASI10, ASI05], atlas: [AML.T0081, AML.T0050]}
deny contains {
	"id": "command.self", "code": "calls-sallyport", "severity": "critical", "always": true,
	"reason": "A command calls sallyport: an agent may not administer or approve itself.",
	"hint": "Approvals are given by a person, elsewhere. Wait for them or go on with other work.",
} if {
	input.phase == "before"
	some c in input.action.commands
	c.self == "yes"
}

# METADATA
# custom: {owasp: [ASI02, ASI03], atlas: [AML.T0057, AML.T0086, AML.T0055]}
deny contains {
	"id": "secret.outside", "code": "secret-outside", "severity": "critical", "always": true,
	"reason": "The arguments hold a secret, and they reach the outside.",
	"hint": "The arguments hold a credential. Remove it; it must not leave.",
} if {
	input.phase == "before"
	leaves
	count(input.context.detect.secrets) > 0
}

# METADATA
# custom: {owasp: [ASI01, ASI02], atlas: [AML.T0057, AML.T0086]}
deny contains {
	"id": "flow.secret", "code": "secret-outside", "severity": "critical", "always": true,
	"reason": "The session has read secret data, and this reaches the outside.",
	"hint": "This session has seen secret data, so nothing can be sent from it.",
} if {
	input.phase == "before"
	leaves
	secret
	not traced
}

secret if input.context.flow.session.secrecy == "secret"

secret if {
	some v in input.context.flow.arguments
	v.secrecy == "secret"
}

# METADATA
# custom: {owasp: [ASI04], atlas: [AML.T0110]}
deny contains {
	"id": "definition.changed", "code": "definition-changed", "severity": "high",
	"reason": "The definition of {tool} is not the one that was pinned.",
	"hint": "This tool has changed since it was reviewed and cannot be used until a person has looked at it.",
} if {
	input.phase == "before"
	input.resource.definition.state == "changed"
}

# METADATA
# custom: {owasp: [ASI03, ASI02], atlas: [AML.T0098, AML.T0055]}
deny contains {
	"id": "url.metadata", "code": "metadata-address", "severity": "high",
	"reason": "Reaches the metadata service of a cloud machine, which hands out credentials.",
	"hint": "This address cannot be reached.",
} if {
	input.phase == "before"
	some u in input.action.urls
	metadata(u)
}

metadata_hosts := {"169.254.169.254", "169.254.170.2", "fd00:ec2::254", "metadata.google.internal", "100.100.100.200"}

metadata(u) if u.host in metadata_hosts

metadata(u) if {
	some a in u.addresses
	a in metadata_hosts
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0053, AML.T0048]}
deny contains {
	"id": "amount.overflow", "code": "amount-overflow", "severity": "high",
	"reason": "An amount is too large to be counted.",
	"hint": "The amount is out of range.",
} if {
	input.phase == "before"
	some a in input.action.amounts
	a.overflow != "no"
}

# METADATA
# custom: {owasp: [ASI03], atlas: [AML.T0053]}
deny contains {
	"id": "rights.missing", "code": "user-may-not", "severity": "high",
	"reason": "The user could not do this himself.",
	"hint": "The user whom you act for has no right to do this.",
} if {
	input.phase == "before"
	not permitted
}

# METADATA
# custom: {owasp: [ASI03], atlas: [AML.T0085]}
deny contains {
	"id": "rights.result", "code": "user-may-not-see", "severity": "high",
	"reason": "The result holds what the user may not see himself, or what nobody can answer for.",
	"hint": "The result holds something that the user whom you act for may not see. Ask for less.",
} if {
	input.phase == "after"
	input.subject.identity.rights.source != ""
	input.subject.identity.rights.permitted != "yes"
}

# Where nobody answers for the user's rights, they do not count; where somebody does, only a yes counts.
permitted if input.subject.identity.rights.permitted == "yes"

permitted if {
	input.subject.identity.rights.permitted == "unknown"
	input.subject.identity.rights.state == "unknown"
}

# METADATA
# custom: {owasp: [ASI09, ASI10], atlas: [AML.T0073]}
deny contains {
	"id": "separation.missing", "code": "no-separation", "severity": "high",
	"reason": "Agent and approver share a user account, and the parameters demand that they do not.",
	"hint": "Only reading is possible in this setting.",
} if {
	input.phase == "before"
	data.params.require_separation
	not input.action.effect in {"read", "respond"}
	not input.context.enforcement.separation in {"uid", "confined", "passkey"}
}

# METADATA
# custom: {owasp: [ASI01, ASI02], atlas: [AML.T0086, AML.T0057]}
quarantine contains {
	"id": "canary.leaves", "code": "canary", "severity": "critical", "always": true,
	"reason": "The arguments hold a planted canary: something makes the agent carry data out.",
	"hint": "This session was stopped.",
} if {
	input.phase == "before"
	input.context.detect.canary == "yes"
}

# METADATA
# custom: {owasp: [ASI01], atlas: [AML.T0051]}
deny contains {
	"id": "canary.result", "code": "canary", "severity": "critical", "always": true,
	"reason": "The result holds a planted canary.",
	"hint": "The call was carried out, but its result cannot be shown. Do not repeat it.",
} if {
	input.phase == "after"
	input.context.detect.canary == "yes"
}
