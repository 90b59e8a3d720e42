# What nobody can agree to in passing. "always" holds in observe mode too.
package sallyport.egress

import rego.v2

# METADATA
# custom: {owasp: [ASI02, ASI03], atlas: [AML.T0053]}
deny contains {
	"id": "address.private", "code": "private-address", "severity": "high", "always": true,
	"reason": "Reaches an address of this machine or of a private network.",
	"hint": "This address cannot be reached.",
} if {
	input.phase == "before"
	not inside
	not public
}

# METADATA
# custom: {owasp: [ASI03], atlas: [AML.T0055, AML.T0098]}
deny contains {
	"id": "address.metadata", "code": "metadata-address", "severity": "critical", "always": true,
	"reason": "Reaches the metadata service of a cloud machine, which hands out credentials.",
	"hint": "This address cannot be reached.",
} if {
	input.phase == "before"
	some u in input.action.urls
	u.host in {"169.254.169.254", "169.254.170.2", "fd00:ec2::254", "metadata.google.internal", "100.100.100.200", "168.63.129.16"}
}

# METADATA
# custom: {owasp: [ASI02, ASI03], atlas: [AML.T0055, AML.T0086]}
deny contains {
	"id": "secret.outside", "code": "secret-outside", "severity": "critical", "always": true,
	"reason": "The request holds a secret, and it reaches the outside.",
	"hint": "The request holds a credential. Remove it; it must not leave.",
} if {
	input.phase == "before"
	not inside
	count(input.context.detect.secrets) > 0
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0057, AML.T0086]}
deny contains {
	"id": "flow.secret", "code": "secret-outside", "severity": "critical", "always": true,
	"reason": "The request holds secret data, or its session has read some, and it reaches the outside.",
	"hint": "Secret data does not leave, and this request or its session holds some. If it is a credential, remove it.",
} if {
	input.phase == "before"
	not inside
	secret
}

secret if input.context.flow.session.secrecy == "secret"

secret if {
	some v in input.context.flow.arguments
	v.secrecy == "secret"
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

permitted if input.subject.identity.rights.permitted == "yes"

permitted if {
	input.subject.identity.rights.permitted == "unknown"
	input.subject.identity.rights.state == "unknown"
}

# METADATA
# custom: {owasp: [ASI01, ASI02], atlas: [AML.T0086]}
quarantine contains {
	"id": "canary.leaves", "code": "canary", "severity": "critical", "always": true,
	"reason": "The request holds a planted canary: something makes the agent carry data out.",
	"hint": "This session was stopped.",
} if {
	input.phase == "before"
	input.context.detect.canary == "yes"
}

# METADATA
# custom: {owasp: [ASI01, ASI02], atlas: [AML.T0057]}
deny contains {
	"id": "canary.result", "code": "canary", "severity": "critical", "always": true,
	"reason": "The response holds a planted canary.",
	"hint": "The request was carried out, but its response cannot be shown. Do not repeat it.",
} if {
	input.phase == "after"
	input.context.detect.canary == "yes"
}
